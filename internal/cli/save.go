package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"builder/image"
	"builder/image/archive"
	"builder/image/store"
	"builder/internal/decompress"
	"builder/internal/pull"
)

func newSave(g *globals) *cobra.Command {
	var dest string
	var platforms []string
	format := choice{value: "docker", words: []string{"docker", "oci"}}
	compress := choice{value: "none", words: []string{"none", "gzip", "zstd"}}
	cmd := &cobra.Command{
		Use:     "save [OPTIONS] IMAGE [IMAGE...]",
		Short:   "Write images to an archive that docker and OCI tools read; a name without a tag is all of its tags",
		Example: "  builder save -o app.tar app:1.0",
		Args:    between(1, -1, "at least one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wants, err := wantedAll(platforms)
			if err != nil {
				return err
			}
			if len(wants) > 1 && format.value == "docker" {
				return usage("a docker archive holds no index of several platforms").WithHint("add --format oci, or save one platform at a time")
			}
			return withMachine(g, cmd, func(ctx context.Context, m *machine) error {
				exports, err := m.exports(ctx, args, wants, format.value == "docker")
				if err != nil {
					return err
				}
				return m.writeFile(dest, func(w io.Writer) error {
					return compressed(w, compress.value, func(w io.Writer) error {
						return archive.Write(ctx, w, exports, archive.Options{Docker: format.value == "docker"})
					})
				})
			})
		},
	}
	cmd.Flags().StringVarP(&dest, "output", "o", "-", "file to write; - is standard output")
	cmd.Flags().Var(&format, "format", "docker or oci")
	cmd.Flags().Var(&compress, "compress", "pack the archive: none, gzip or zstd")
	cmd.Flags().StringSliceVar(&platforms, "platform", nil, "platform of the images, where a name means several; of several an index is made")
	return cmd
}

// compressed writes through a compressor.
func compressed(w io.Writer, name string, write func(io.Writer) error) error {
	if name == "none" {
		return write(w)
	}
	kind, err := image.ParseCompression(name)
	if err != nil {
		return err
	}
	z, err := store.Compress(w, kind, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(z), z.Close())
}

// wantedAll parses platforms; of none any will do.
func wantedAll(texts []string) ([]image.Platform, error) {
	var all []image.Platform
	for _, text := range texts {
		p, err := wanted(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// packedFor returns an image of the store on its way out, or an index of what its
// name means on several platforms.
func (m *machine) packedFor(ctx context.Context, name string, wants []image.Platform, docker bool) (image.Export, error) {
	if len(wants) < 2 {
		return m.packed(ctx, name, append(wants, image.Platform{})[0], docker)
	}
	var members []image.Export
	for _, want := range wants {
		e, err := m.packed(ctx, name, want, docker)
		if err != nil {
			return image.Export{}, err
		}
		members = append(members, e)
	}
	return image.Join(image.Form{}.Types, members, nil)
}

// packed returns an image of the store on its way out.
func (m *machine) packed(ctx context.Context, name string, want image.Platform, docker bool) (image.Export, error) {
	found, err := m.findFor(ctx, name, want)
	if err != nil {
		return image.Export{}, err
	}
	if err := m.complete(ctx, found.Record, "auto"); err != nil {
		return image.Export{}, err
	}
	img, config, err := m.store.Load(ctx, found.Record)
	if err != nil {
		return image.Export{}, err
	}
	if _, err := m.chain(ctx, img.Layers); err != nil {
		return image.Export{}, err
	}
	form := image.Form{}
	if docker {
		form.Types = image.Docker
	}
	packed, err := m.store.Pack(ctx, img, config, form, m.depot)
	if err != nil {
		return image.Export{}, err
	}
	e := image.Export{Packed: packed.Packed, Blobs: packed}
	if ref := found.Name.Reference; !ref.IsZero() && ref.Tag() != "" {
		e.References = []image.Reference{ref}
	}
	return e, nil
}

func newLoad(g *globals) *cobra.Command {
	var from, platform string
	cmd := &cobra.Command{
		Use:     "load [OPTIONS]",
		Short:   "Take images out of an archive",
		Example: "  builder load -i app.tar",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			want, err := platformOr(platform)
			if err != nil {
				return err
			}
			if from == "-" && isTerminal(g.in) {
				return usage("requested load from stdin, but stdin is empty").WithHint("builder load -i FILE, or builder load < FILE")
			}
			return growing(g, cmd, func(ctx context.Context, m *machine) error {
				in, err := openFileOr(from, g.in)
				if err != nil {
					return err
				}
				if err = errors.Join(m.load(ctx, in, want), in.Close()); err != nil {
					return fmt.Errorf("load %s: %w", from, err)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&from, "input", "i", "-", "archive to read; - is standard input")
	cmd.Flags().StringVar(&platform, "platform", "", "platform to take of several (default this machine's)")
	cmd.Flags().BoolP("quiet", "q", false, "show no progress: none is shown anyway")
	return cmd
}

// load reads an archive. Its names are a stranger's: one that means another
// image here stays as it is, and that is said.
func (m *machine) load(ctx context.Context, in io.Reader, want image.Platform) error {
	f, err := m.spool(in)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	a, err := archive.Open(f, fi.Size())
	if err != nil {
		return err
	}
	for _, e := range a.Entries() {
		p, err := a.Image(ctx, e, want)
		if err != nil {
			return err
		}
		rec, err := m.takeIn(ctx, p, a)
		if err != nil {
			return err
		}
		if err := m.nameLoaded(ctx, rec, e.References); err != nil {
			return err
		}
	}
	return m.cache.Sync(ctx)
}

// spool copies an archive, decompressed, into a file without a name.
func (m *machine) spool(in io.Reader) (*os.File, error) {
	r, err := decompress.NewReader(bufio.NewReader(in))
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(m.lease.Dir(), "load-*")
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, r.Close(), os.Remove(f.Name())); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// takeIn brings an image's blobs and record into the store.
func (m *machine) takeIn(ctx context.Context, p image.Packed, blobs image.Blobs) (store.Record, error) {
	layers := make([]image.Layer, len(p.Layers))
	for i, d := range p.Layers {
		r, err := blobs.Open(ctx, d)
		if err != nil {
			return store.Record{}, err
		}
		if err := errors.Join(m.store.Ingest(ctx, d, r), r.Close()); err != nil {
			return store.Record{}, err
		}
		layers[i] = image.Layer{Content: image.ForeignContent(p.DiffIDs[i]), DiffID: p.DiffIDs[i], Blob: &p.Layers[i]}
	}
	return m.store.Add(ctx, store.Record{Layers: layers, Manifests: []image.Digest{p.Manifest.Digest}, Origin: store.FromLoad, Made: time.Now()}, p.ConfigBytes)
}

func (m *machine) nameLoaded(ctx context.Context, rec store.Record, refs []image.Reference) error {
	if len(refs) == 0 {
		fmt.Fprintf(m.out, "Loaded image ID: %s\n", rec.ID)
	}
	for _, ref := range refs {
		found, ok, err := m.store.Lookup(ctx, ref, rec.Platform)
		if err != nil {
			return err
		}
		if ok && found.ID != rec.ID {
			fmt.Fprintf(m.err, "%s stays %s here; the archive's is %s (builder tag renames it)\n", ref.Familiar(), found.ID, rec.ID)
			continue
		}
		if err := m.tag(ctx, rec, []image.Reference{ref}); err != nil {
			return err
		}
		fmt.Fprintf(m.out, "Loaded image: %s\n", ref.Familiar())
	}
	return nil
}

// complete sees to it that the layers of an image are here: one that was a base
// only may have come without some.
func (m *machine) complete(ctx context.Context, rec store.Record, mode string) error {
	client, err := m.registry()
	if err != nil {
		return err
	}
	view := newTransfers(mode, m.err)
	_, err = pull.New(m.store, client, pull.Missing, view).Complete(ctx, rec)
	return errors.Join(err, view.Close())
}
