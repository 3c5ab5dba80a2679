package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/layer"
	"builder/image/store"
	"builder/internal/decompress"
	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
)

func newImport(g *globals) *cobra.Command {
	var changes []string
	var message, platform string
	var force bool
	cmd := &cobra.Command{
		Use:     "import [OPTIONS] FILE|URL|- [NAME[:TAG]]",
		Short:   "Make an image of one layer out of a root file system in a tar",
		Example: "  debootstrap bookworm root && tar -C root -c . | builder import - debian:bookworm",
		Args:    between(1, 2, "a tar and a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			tags, err := parseTags("", args[1:])
			if err != nil {
				return err
			}
			p := image.DefaultPlatform()
			if platform != "" {
				if p, err = image.ParsePlatform(platform); err != nil {
					return usage("--platform: %v", err)
				}
			}
			run, err := changedConfig(changes)
			if err != nil {
				return err
			}
			return growing(g, cmd, func(ctx context.Context, m *machine) error {
				in, err := m.openImport(ctx, args[0])
				if err != nil {
					return err
				}
				id, err := m.importTar(ctx, in, importOptions{from: args[0], platform: p, run: run, message: message, tags: tags, force: force})
				if err = errors.Join(err, in.Close()); err != nil {
					return err
				}
				_, err = fmt.Fprintln(g.out, id)
				return err
			})
		},
	}
	cmd.Flags().StringArrayVarP(&changes, "change", "c", nil, "apply a Dockerfile instruction to the config: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR")
	cmd.Flags().StringVarP(&message, "message", "m", "", "comment of the image's history")
	cmd.Flags().BoolVar(&force, "force", false, "take over a name that a recipe's build made")
	cmd.Flags().StringVar(&platform, "platform", "", "platform of the image (default this machine's)")
	return cmd
}

// openImport opens what import reads: standard input, a file, or what a web server
// has, by docker's rule.
func (m *machine) openImport(ctx context.Context, from string) (io.ReadCloser, error) {
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		return openFileOr(from, m.in)
	}
	view := newTransfers("auto", m.err)
	f, err := m.newFetcher(ctx, view, func(string) ([]byte, bool) { return nil, false }).file(ctx, "import "+from, from)
	if err = errors.Join(err, view.Close()); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return f, nil
}

// openFileOr opens a file, or takes standard input for "-".
func openFileOr(path string, stdin *os.File) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(stdin), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usage("%q cannot be read: %v", path, unwrapPath(err))
	}
	return f, nil
}

// changeable are the instructions that --change takes, as docker has them.
var changeable = []string{"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}

// changedConfig is what the instructions make of an empty config.
func changedConfig(changes []string) (image.RunConfig, error) {
	if len(changes) == 0 {
		return image.RunConfig{}, nil
	}
	var path, workdir bool
	for _, c := range changes {
		word, rest, _ := strings.Cut(strings.TrimSpace(c), " ")
		word = strings.ToUpper(word)
		if !slices.Contains(changeable, word) {
			return image.RunConfig{}, usage("--change: %q cannot be applied to a config", c).WithHint("the instructions are %s", strings.Join(changeable, ", "))
		}
		path = path || word == "ENV" && strings.HasPrefix(strings.TrimSpace(rest), "PATH")
		workdir = workdir || word == "WORKDIR"
	}
	recipe, err := parser.Parse(&diag.File{Name: "--change", Text: "FROM scratch\n" + strings.Join(changes, "\n") + "\n"})
	if err != nil {
		return image.RunConfig{}, err
	}
	graph, _, err := planner.Plan(recipe, planner.Options{}, planner.Pins{})
	if err != nil {
		return image.RunConfig{}, err
	}
	run := graph.Result.Config.Config
	// What a build from scratch adds is not the user's.
	if !path {
		run.Env = slices.DeleteFunc(run.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") })
	}
	if !workdir {
		run.WorkingDir = ""
	}
	return run, nil
}

type importOptions struct {
	from     string
	platform image.Platform
	run      image.RunConfig
	message  string
	tags     []image.Reference
	force    bool
}

// importTar makes a layer of the tar as it is and an image around it. The
// image's time is that of the newest file, so that the same tar gives the same image
// everywhere.
func (m *machine) importTar(ctx context.Context, in io.Reader, o importOptions) (image.Digest, error) {
	blob, err := m.store.Create(ctx)
	if err != nil {
		return "", err
	}
	l, ix, err := readImport(ctx, in, blob)
	if err != nil {
		return "", errors.Join(fmt.Errorf("import %s: %w", o.from, err), blob.Discard())
	}
	desc, err := blob.Commit()
	if err != nil {
		return "", err
	}
	l.Blob.Digest, l.Blob.Size = desc.Digest, desc.Size
	created := newest(ix)
	comment := o.message
	if comment == "" {
		comment = "Imported from " + o.from
	}
	c := image.Config{
		Created: &created, Architecture: o.platform.Architecture, Variant: o.platform.Variant, OS: o.platform.OS,
		Config: o.run, RootFS: image.RootFS{Type: "layers", DiffIDs: []image.Digest{l.DiffID}},
		History: []image.History{{Created: &created, Comment: comment}},
	}
	data, err := c.Encode()
	if err != nil {
		return "", err
	}
	rec, err := m.store.Add(ctx, store.Record{Layers: []image.Layer{l}, Origin: store.FromImport, Made: time.Now()}, data)
	if err != nil {
		return "", err
	}
	if err := m.claim(ctx, rec, o.tags, o.force); err != nil {
		return "", err
	}
	return rec.ID, m.cache.Sync(ctx)
}

// readImport copies the tar into blob and checks it while it passes.
func readImport(ctx context.Context, in io.Reader, blob io.Writer) (_ image.Layer, _ *layer.Index, err error) {
	buffered := bufio.NewReader(in)
	compression, err := sniff(buffered)
	if err != nil {
		return image.Layer{}, nil, err
	}
	whole := io.NopCloser(buffered)
	if compression == image.Uncompressed {
		// Layers are not packed by bzip2 or xz: such a tar is kept as it was before.
		if whole, err = decompress.NewReader(buffered); err != nil {
			return image.Layer{}, nil, err
		}
	}
	defer func() { err = errors.Join(err, whole.Close()) }()
	raw := io.TeeReader(whole, blob)
	tar, err := store.Decompress(raw)
	if err != nil {
		return image.Layer{}, nil, err
	}
	hash, size := digest.Canonical.Digester(), &countWriter{}
	all := io.TeeReader(tar, io.MultiWriter(hash.Hash(), size))
	ix, err := layer.Apply(ctx, "", all, layer.ApplyOptions{})
	if err == nil {
		_, err = io.Copy(io.Discard, all)
	}
	if err = errors.Join(err, tar.Close()); err != nil {
		return image.Layer{}, nil, err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return image.Layer{}, nil, err
	}
	if len(ix.Entries) == 0 {
		return image.Layer{}, nil, errors.New("it is no tar, or an empty one")
	}
	l := image.Layer{DiffID: hash.Digest(), Size: size.n, Blob: &image.Descriptor{MediaType: image.OCI.Layer(compression)}}
	l.Content = image.ForeignContent(l.DiffID)
	return l, ix, nil
}

// sniff tells how a layer is packed by its first bytes.
func sniff(r *bufio.Reader) (image.Compression, error) {
	start, err := r.Peek(4)
	switch {
	case err != nil && err != io.EOF:
		return 0, err
	case strings.HasPrefix(string(start), "\x1f\x8b"):
		return image.Gzip, nil
	case strings.HasPrefix(string(start), "\x28\xb5\x2f\xfd"):
		return image.Zstd, nil
	default:
		return image.Uncompressed, nil
	}
}

type countWriter struct{ n int64 }

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// newest is the time of the newest entry, in whole seconds, and not in the
// future.
func newest(ix *layer.Index) time.Time {
	var latest int64
	for i := range ix.Entries {
		latest = max(latest, ix.Entries[i].Mtime)
	}
	return time.Unix(min(latest/int64(time.Second), time.Now().Unix()), 0).UTC()
}
