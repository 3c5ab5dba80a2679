package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"builder/internal/container"
	"builder/internal/rootfs"
)

func newCp(g *globals) *cobra.Command {
	var archive, follow bool
	cmd := &cobra.Command{
		Use:     "cp [OPTIONS] CONTAINER:PATH PATH|- | cp [OPTIONS] PATH|- CONTAINER:PATH",
		Short:   "Copy files between a container and the host",
		Long:    "Copy files between a container and the host. - is a tar, on standard input or output.",
		Example: "  builder cp web:/etc/app.conf .",
		Args:    exactly(2, "a source and a destination"),
		RunE: func(cmd *cobra.Command, args []string) error {
			fromName, fromPath := splitPlace(args[0])
			toName, toPath := splitPlace(args[1])
			switch {
			case fromName != "" && toName != "":
				return usage("copying between containers is not supported").WithHint("copy to the host first")
			case fromName == "" && toName == "":
				return usage("neither %q nor %q is in a container", args[0], args[1]).WithHint("write CONTAINER:PATH for one of them")
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				o := container.CopyOptions{Follow: follow}
				var err error
				if toName == "" {
					if !archive {
						o.Owner = &[2]int{os.Geteuid(), os.Getegid()}
					}
					err = m.copyOut(ctx, fromName, fromPath, toPath, o)
				} else {
					if !archive {
						o.Owner = &[2]int{}
					}
					err = m.copyIn(ctx, fromPath, toName, toPath, o)
				}
				if err != nil {
					return fmt.Errorf("cp: %w", err)
				}
				return nil
			})
		},
	}
	hold(cmd.Flags(), "quiet", "q", "true", "nothing is shown while files are copied")
	cmd.Flags().BoolVarP(&archive, "archive", "a", false, "keep owners, by number; without it files get root's in a container, and yours on the host")
	cmd.Flags().BoolVarP(&follow, "follow-link", "L", false, "copy what a symbolic link at the end of the source leads to")
	return cmd
}

// splitPlace takes CONTAINER:PATH apart, as docker does: what begins with a dot or a
// slash is a path of the host.
func splitPlace(text string) (name, path string) {
	name, path, ok := strings.Cut(text, ":")
	if !ok || strings.HasPrefix(text, ".") || strings.HasPrefix(text, "/") {
		return "", text
	}
	return name, path
}

// inContainer lets use work on the files of a container.
func (m *machine) inContainer(ctx context.Context, name string, use func(*rootfs.Root) error) error {
	c, err := m.containers().Find(name)
	if err != nil {
		return err
	}
	return m.containers().Files(ctx, c, use)
}

// hostPlace is a path of the host.
func hostPlace(text string, use func(container.Place) error) error {
	abs, err := filepath.Abs(text)
	if err != nil {
		return err
	}
	// What Abs cleans away says what is meant.
	for _, end := range []string{"/.", "/"} {
		if strings.HasSuffix(text, end) {
			abs = strings.TrimSuffix(abs, "/") + end
			break
		}
	}
	root, err := rootfs.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	return use(container.Place{Root: root, Path: abs})
}

func (m *machine) copyOut(ctx context.Context, name, from, to string, o container.CopyOptions) error {
	return m.inContainer(ctx, name, func(root *rootfs.Root) error {
		source := container.Place{Root: root, Path: from}
		if to == "-" {
			if f, ok := m.out.(*os.File); ok && isTerminal(f) {
				return usage("a tar is not written to a terminal").WithHint("redirect standard output")
			}
			return container.Pack(ctx, source, o, m.out)
		}
		return hostPlace(to, func(target container.Place) error { return container.Copy(ctx, source, target, o) })
	})
}

func (m *machine) copyIn(ctx context.Context, from, name, to string, o container.CopyOptions) error {
	return m.inContainer(ctx, name, func(root *rootfs.Root) error {
		target := container.Place{Root: root, Path: to}
		if from == "-" {
			o.Owner = nil // a tar says whose its files are
			return container.Unpack(ctx, m.in, target, o)
		}
		return hostPlace(from, func(source container.Place) error { return container.Copy(ctx, source, target, o) })
	})
}
