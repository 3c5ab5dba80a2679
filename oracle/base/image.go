package base

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A Set is the images by their names in the registry, "name:tag".
type Set struct {
	images  map[string]v1.Image
	indexes map[string]v1.ImageIndex
}

// layer is one layer of an image to be made.
type layer struct {
	tar     []byte
	by      string // created_by of its history
	comment string
	zstd    bool
	plain   bool     // neither gzip nor zstd
	docker  bool     // docker's media type
	built   v1.Layer // what build made before, if it did
}

func (l layer) build() (v1.Layer, error) {
	if l.built != nil && !l.docker {
		return l.built, nil
	}
	if l.plain {
		return static.NewLayer(l.tar, types.OCIUncompressedLayer), nil
	}
	media, how := types.OCILayer, compression.GZip
	switch {
	case l.zstd:
		media, how = types.OCILayerZStd, compression.ZStd
	case l.docker:
		media = types.DockerLayer
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l.tar)), nil }
	return tarball.LayerFromOpener(open, tarball.WithCompression(how), tarball.WithMediaType(media), tarball.WithCompressedCaching)
}

// form says what kind of image to make of its layers.
type form struct {
	arch      string
	variant   string
	docker    bool
	noHistory bool
	extra     []v1.History // empty layers, after the others
	author    string
}

func (f form) image(config v1.Config, layers ...layer) (v1.Image, error) {
	manifest, configType := types.OCIManifestSchema1, types.OCIConfigJSON
	if f.docker {
		manifest, configType = types.DockerManifestSchema2, types.DockerConfigJSON
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifest), configType)
	for _, l := range layers {
		l.docker = f.docker
		built, err := l.build()
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: built, History: v1.History{
			CreatedBy: l.by, Comment: l.comment, Created: v1.Time{Time: stamp},
		}})
		if err != nil {
			return nil, err
		}
	}

	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: stamp}
	file.OS, file.Architecture, file.Variant = "linux", "amd64", f.variant
	if f.arch != "" {
		file.Architecture = f.arch
	}
	file.Author = f.author
	file.Config = config
	file.History = append(file.History, f.extra...)
	if f.noHistory {
		file.History = nil
	}
	return mutate.ConfigFile(img, file)
}

// New makes all images out of the two programs. The applets are the names
// that busybox answers to.
func New(busybox, probe []byte, applets []string) (*Set, error) {
	sys, err := system(busybox, probe, applets)
	if err != nil {
		return nil, fmt.Errorf("base system: %w", err)
	}
	s := &Set{images: map[string]v1.Image{}, indexes: map[string]v1.ImageIndex{}}
	root := layer{tar: sys, by: "base system", comment: "made for tests"}
	if root.built, err = root.build(); err != nil {
		return nil, fmt.Errorf("base system: %w", err)
	}
	plainConfig := v1.Config{Env: []string{defaultPath}, Cmd: []string{"sh"}}
	for _, add := range []func(layer, v1.Config) error{s.simple, s.configs, s.forms, s.layered, s.platforms} {
		if err := add(root, plainConfig); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Set) put(name string, f form, config v1.Config, layers ...layer) error {
	img, err := f.image(config, layers...)
	if err != nil {
		return fmt.Errorf("base %s: %w", name, err)
	}
	s.images[name] = img
	return nil
}

func (s *Set) simple(root layer, config v1.Config) error {
	for _, name := range []string{"busybox:1", "busybox:latest", "team/tools:2.0"} {
		if err := s.put(name, form{}, config, root); err != nil {
			return err
		}
	}
	return nil
}

// configs differ in their configs and share their files.
func (s *Set) configs(root layer, _ v1.Config) error {
	full := v1.Config{
		Env:          []string{"PATH=/bin:/opt/bin", "FOO=base", "EMPTY=", "SPACED=two words"},
		WorkingDir:   "/srv/data",
		User:         "app",
		Labels:       map[string]string{"origin": "base", "keep": "yes"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}},
		Volumes:      map[string]struct{}{"/srv/volume": {}},
		Entrypoint:   []string{"/bin/sh", "-c"},
		Cmd:          []string{"echo base"},
		StopSignal:   "SIGQUIT",
		Healthcheck:  &v1.HealthConfig{Test: []string{"CMD", "true"}, Interval: 5_000_000_000, Retries: 2},
	}
	shell := v1.Config{Env: []string{defaultPath}, Shell: []string{"/bin/ash", "-e", "-c"}, Cmd: []string{"base", "cmd"}}
	onbuild := v1.Config{Env: []string{defaultPath}, OnBuild: []string{
		"ARG TRIGGER=unset", "ENV TRIGGERED=$TRIGGER", "WORKDIR /triggered", "COPY trigger.txt ./",
		"RUN echo $TRIGGERED > ran", "LABEL by=trigger", `CMD ["triggered"]`,
	}}
	for _, c := range []struct {
		name   string
		config v1.Config
	}{
		{"full:1", full},
		{"shell:1", shell},
		{"onbuild:1", onbuild},
		{"onbuild-from:1", v1.Config{Env: []string{defaultPath}, OnBuild: []string{"COPY --from=helper /made /made"}}},
		{"onbuild-bad:1", v1.Config{Env: []string{defaultPath}, OnBuild: []string{"FROM scratch"}}},
		{"nopath:1", v1.Config{Env: []string{"FOO=base"}}},
		{"emptypath:1", v1.Config{Env: []string{"PATH=", "FOO=base"}}},
		{"noconfig:1", v1.Config{}},
		{"dupenv:1", v1.Config{Env: []string{"A=1", defaultPath, "A=2", "B=3"}}},
		{"user-id:1", v1.Config{Env: []string{defaultPath}, User: "1000:33"}},
		{"user-unknown:1", v1.Config{Env: []string{defaultPath}, User: "4711"}},
		{"workdir-missing:1", v1.Config{Env: []string{defaultPath}, WorkingDir: "/made/by/config"}},
		{"workdir-relative:1", v1.Config{Env: []string{defaultPath}, WorkingDir: "srv/data"}},
		{"home:1", v1.Config{Env: []string{defaultPath, "HOME=/opt"}}},
	} {
		if err := s.put(c.name, form{}, c.config, root); err != nil {
			return err
		}
	}
	return nil
}

// forms differ in media types, compression and history.
func (s *Set) forms(root layer, config v1.Config) error {
	zstd, plain := root, root
	zstd.built, plain.built = nil, nil
	zstd.zstd, plain.plain = true, true
	empty := []v1.History{
		{CreatedBy: "ENV nothing", EmptyLayer: true, Created: v1.Time{Time: stamp}},
		{CreatedBy: `CMD ["sh"]`, EmptyLayer: true, Comment: "c", Author: "someone", Created: v1.Time{Time: stamp}},
	}
	for _, f := range []struct {
		name string
		form form
		root layer
	}{
		{"docker:1", form{docker: true}, root},
		{"zstd:1", form{}, zstd},
		{"plain:1", form{}, plain},
		{"history:1", form{extra: empty, author: "base author <base@example.com>"}, root},
		{"nohistory:1", form{noHistory: true}, root},
		{"variant:1", form{arch: "arm", variant: "v7"}, root},
	} {
		if err := s.put(f.name, f.form, config, f.root); err != nil {
			return err
		}
	}
	return nil
}

// layered has whiteouts of files and directories, an opaque directory, and
// entries that change their type.
func (s *Set) layered(root layer, config v1.Config) error {
	second := newTree()
	second.dir(0o755, "srv", "srv/full", "layers", "layers/dir")
	second.whiteout("srv/full/a")
	second.whiteout("srv/data")
	second.file("layers/dir/inside", 0o644, "second\n")
	second.file("layers/file", 0o644, "second\n")
	second.file("layers/kept", 0o644, "second\n")
	third := newTree()
	third.dir(0o755, "srv")
	third.dir(0o711, "layers", "srv/full")
	third.whiteout("srv/full/")
	third.file("srv/full/c", 0o644, "third\n")
	third.file("layers/dir", 0o644, "a file now\n")
	third.dir(0o755, "layers/file")
	third.file("layers/file/inside", 0o644, "third\n")
	third.file("layers/kept", 0o600, "third\n")
	third.link("layers/kept2", "layers/kept")

	layers := []layer{root}
	for i, t := range []*tree{second, third} {
		b, err := t.bytes()
		if err != nil {
			return fmt.Errorf("base layers:1: %w", err)
		}
		layers = append(layers, layer{tar: b, by: fmt.Sprintf("layer %d", i+2)})
	}
	return s.put("layers:1", form{}, config, layers...)
}

// platforms is an index of two platforms that differ in one file.
func (s *Set) platforms(root layer, config v1.Config) error {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range []v1.Platform{
		{OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm64"},
		{OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		t := newTree()
		t.dir(0o755, "etc")
		t.file("etc/arch", 0o644, p.Architecture+p.Variant+"\n")
		b, err := t.bytes()
		if err != nil {
			return err
		}
		config.Env = []string{defaultPath, "ARCH=" + p.Architecture}
		f := form{arch: p.Architecture, variant: p.Variant}
		img, err := f.image(config, root, layer{tar: b, by: "arch"})
		if err != nil {
			return err
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	s.indexes["multi:1"] = idx
	return nil
}

// Digests maps the names of all images to their manifests' digests.
func (s *Set) Digests() (map[string]string, error) {
	digests := map[string]string{}
	for name, img := range s.images {
		d, err := img.Digest()
		if err != nil {
			return nil, fmt.Errorf("base %s: %w", name, err)
		}
		digests[name] = d.String()
	}
	for name, idx := range s.indexes {
		d, err := idx.Digest()
		if err != nil {
			return nil, fmt.Errorf("base %s: %w", name, err)
		}
		digests[name] = d.String()
	}
	return digests, nil
}

// Names are the images' names, sorted.
func (s *Set) Names() []string {
	names := append(slices.Collect(maps.Keys(s.images)), slices.Collect(maps.Keys(s.indexes))...)
	slices.Sort(names)
	return names
}
