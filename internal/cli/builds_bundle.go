package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"builder/internal/history"
)

func newBuildsExport(g *globals) *cobra.Command {
	var dest string
	var all bool
	cmd := &cobra.Command{
		Use:     "export [OPTIONS] [REF...]",
		Short:   "Write records of builds to a file",
		Example: "  builder history export -o build.tar.gz\n  builder history export --all -o builds.tar.gz",
		Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usage("%s takes either builds or --all", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if dest == "" {
				dest = "-"
			}
			return withMachine(g, cmd, func(_ context.Context, m *machine) error {
				list, err := m.chooseBuilds(args, all)
				if err != nil {
					return err
				}
				return m.writeFile(dest, func(w io.Writer) error { return history.Export(w, list) })
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&dest, "output", "o", "", "the file (default standard output)")
	fl.BoolVar(&all, "all", false, "write all records")
	return cmd
}

// chooseBuilds are the builds that words mean, each once; the newest where there are none.
func (m *machine) chooseBuilds(words []string, all bool) ([]history.Kept, error) {
	if all {
		list, err := m.history().List(m.skipped)
		if err == nil && len(list) == 0 {
			err = usage("there are no records of builds")
		}
		return list, err
	}
	if len(words) == 0 {
		words = []string{"^0"}
	}
	var list []history.Kept
	seen := map[string]bool{}
	for _, word := range words {
		k, err := m.build(word)
		if err != nil {
			return nil, err
		}
		if !seen[k.Ref] {
			list = append(list, k)
		}
		seen[k.Ref] = true
	}
	return list, nil
}

func newBuildsImport(g *globals) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:     "import [OPTIONS] -|FILE",
		Short:   "Keep records of builds that were exported elsewhere",
		Example: "  builder history import -f build.tar.gz",
		Args:    between(0, 1, "one file at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			all := append(args, files...)
			if len(all) == 0 {
				all = []string{"-"}
			}
			return growing(g, cmd, func(_ context.Context, m *machine) error {
				for _, file := range all {
					if err := m.importBuilds(file); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "the file; - is standard input (repeatable)")
	return cmd
}

func (m *machine) importBuilds(file string) (err error) {
	in := io.Reader(m.in)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return usage("the file %q cannot be read: %v", file, unwrapPath(err))
		}
		defer f.Close()
		in = f
	}
	limits, err := historyLimits()
	if err != nil {
		return err
	}
	limits.Records = max(limits.Records, 1)
	err = history.Import(in, func(r *history.Record, log []byte) error {
		if _, err := m.history().Find(r.Ref); err == nil {
			fmt.Fprintf(m.err, "%s is here already\n", r.Ref)
			return nil
		}
		if err := m.history().Put(r, log, limits); err != nil {
			return err
		}
		if _, err := m.history().Find(r.Ref); err != nil {
			fmt.Fprintf(m.err, "%s is older than the records that stay (history.keep and history.max-size in builder.toml)\n", r.Ref)
			return nil
		}
		_, err := fmt.Fprintln(m.out, r.Ref)
		return err
	})
	if err != nil {
		return usage("%s: %v", file, err).WithHint("builder history export writes what is read here; Docker Desktop's .dockerbuild files are not")
	}
	return nil
}

// workingDir is where the command was started.
func workingDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	return dir, nil
}

// isBelow reports whether a path is a directory or below it.
func isBelow(path, dir string) bool {
	below, err := filepath.Rel(dir, path)
	return err == nil && below != ".." && !strings.HasPrefix(below, "../")
}
