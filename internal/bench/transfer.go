package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The image that travels: five layers of files, half of whose bytes do not compress.
const (
	transferLayers = 5
	transferBytes  = 100 << 20 // in each layer
	listedImages   = 1000
)

// mover is a tool that brings images from a registry and unpacks them.
type mover struct {
	name  string
	clean func(ctx context.Context) error
	pull  func() *exec.Cmd
}

// transfers is all that is needed to measure what goes over the wire.
type transfers struct {
	place
	settings
	image  string // the name of the image in the registry
	docker *docker
	text   strings.Builder
}

// measureTransfers measures pulls, pushes and lists, and prints the report.
func measureTransfers(ctx context.Context, s settings, dir string) (err error) {
	t := &transfers{place: place{dir: dir, log: filepath.Join(dir, "log")}, settings: s}
	host, stop, err := startRegistry(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	t.image = host + "/big:1"
	if err := t.makeImage(ctx); err != nil {
		return err
	}
	if _, err := exec.LookPath("dockerd"); err == nil && t.peers {
		if t.docker, err = startDocker(ctx, t.root("docker")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.docker.stop()) }()
	}
	fmt.Fprintf(&t.text, "%s. Wall time in ms: median (least) of %d runs of builder and %d of the others, in turns; × is a median over builder's.\n\n", machine(ctx, s.fs), s.runs, s.peerRuns)
	for _, measure := range []func(context.Context) error{t.pulls, t.pushes, t.lists} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	fmt.Print(t.text.String())
	return nil
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)

// startRegistry starts a registry on loopback and returns where it is.
func startRegistry(ctx context.Context, dir string) (host string, stop func() error, err error) {
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: '127.0.0.1:0'}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return "", nil, err
	}
	log, err := os.Create(filepath.Join(dir, "registry.log"))
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return "", nil, errors.Join(err, log.Close())
	}
	stop = func() error {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()         // "killed"
		return log.Close()
	}
	for range 100 {
		said, _ := os.ReadFile(log.Name())
		if m := listening.FindSubmatch(said); m != nil {
			return string(m[1]), stop, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return "", nil, errors.Join(errors.New("docker-registry did not start"), stop())
}

func (t *transfers) root(name string) string { return filepath.Join(t.dir, "roots", name) }

func (t *transfers) builder(root string, args ...string) *exec.Cmd {
	return exec.Command(t.settings.builder, append([]string{"--root", t.root(root)}, args...)...)
}

// makeImage builds the image and sends it.
func (t *transfers) makeImage(ctx context.Context) error {
	var recipe strings.Builder
	recipe.WriteString("FROM scratch\n")
	for n := range transferLayers {
		if err := writeLayer(filepath.Join(t.tree("big"), fmt.Sprint("l", n)), uint64(n), transferBytes); err != nil {
			return err
		}
		fmt.Fprintf(&recipe, "COPY l%d /opt/l%d/\n", n, n)
	}
	recipe.WriteString("COPY small /\n")
	path := filepath.Join(t.tree("big"), "Dockerfile")
	err := errors.Join(os.WriteFile(path, []byte(recipe.String()), 0o644), os.WriteFile(filepath.Join(t.tree("big"), "small"), nil, 0o644))
	if err != nil {
		return err
	}
	// The sixth layer, of one file, is in the image that is pushed again only.
	five := strings.Replace(recipe.String(), "COPY small /\n", "", 1)
	if err := os.WriteFile(path+".five", []byte(five), 0o644); err != nil {
		return err
	}
	if err := t.run(ctx, t.builder("origin", "build", "-q", "-t", t.image, "-f", path+".five", t.tree("big"))); err != nil {
		return err
	}
	return t.run(ctx, t.builder("origin", "push", "-q", t.image))
}

// writeLayer makes files of all sizes, most of them small, size bytes in all.
func writeLayer(dir string, seed uint64, size int) error {
	random := rand.New(rand.NewPCG(seed, 3))
	text := make([]byte, 4<<20)
	for i := 0; size > 0; i++ {
		n := min(size, 200+int(2500/(random.Float64()+0.0006)))
		for j := range text[:n] {
			text[j] = "aaaaeeeeiinnrrsstt  _/.{}=0123456789bcdfghjklmopquvwxyzABCDEFGHI"[random.IntN(64)]
		}
		// The same words come again.
		for j := 64; j+64 < n; j += 64 + random.IntN(128) {
			copy(text[j:j+48], text[j-random.IntN(min(j, 8192)+1):])
		}
		folder := filepath.Join(dir, fmt.Sprintf("%03d", i/100))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d", i%100)), text[:n], 0o644); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// movers are builder and its peers, as far as they are here.
func (t *transfers) movers() []mover {
	remove := func(name string) func(context.Context) error {
		return func(context.Context) error { return os.RemoveAll(t.root(name)) }
	}
	all := []mover{{"builder", remove("pull"), func() *exec.Cmd { return t.builder("pull", "pull", "-q", t.image) }}}
	if !t.peers {
		return all
	}
	script := `skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$1" "oci:$2/oci:1" && umoci unpack --image "$2/oci:1" "$2/bundle"`
	all = append(all, mover{"skopeo copy + umoci unpack", func(context.Context) error {
		return errors.Join(os.RemoveAll(t.root("skopeo")), os.MkdirAll(t.root("skopeo"), 0o755))
	}, func() *exec.Cmd { return exec.Command("sh", "-c", script, "sh", t.image, t.root("skopeo")) }})
	storage := []string{"--root", t.root("buildah"), "--runroot", t.root("buildah.run"), "--storage-driver", "overlay"}
	if t.docker != nil {
		all = append(all, mover{t.docker.name + " pull", func(ctx context.Context) error {
			return t.run(ctx, t.docker.command("system", "prune", "--all", "--force"))
		}, func() *exec.Cmd { return t.docker.command("pull", "-q", t.image) }})
	}
	return append(all, mover{"buildah pull (overlay)", func(ctx context.Context) error {
		rmi := exec.Command("buildah", append(slices.Clone(storage), "rmi", "--all", "--force")...)
		return t.run(ctx, rmi)
	}, func() *exec.Cmd {
		return exec.Command("buildah", append(slices.Clone(storage), "pull", "-q", "--tls-verify=false", t.image)...)
	}})
}

// pulls measures each mover in turns.
func (t *transfers) pulls(ctx context.Context) error {
	movers := t.movers()
	times := make([][]time.Duration, len(movers))
	for n := range max(t.runs, t.peerRuns) {
		for i, m := range movers {
			if i == 0 && n >= t.runs || i > 0 && n >= t.peerRuns {
				continue
			}
			took, err := t.time(ctx, m.clean, m.pull())
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			times[i] = append(times[i], took)
		}
	}
	head, cells := []string{"", "target"}, []figures{}
	for i, m := range movers {
		head, cells = append(head, m.name), append(cells, figure(times[i]))
	}
	line(&t.text, head)
	line(&t.text, slices.Repeat([]string{"---"}, len(head)))
	title := fmt.Sprintf("pull and unpack %d MiB in %d layers", transferLayers*transferBytes>>20, transferLayers)
	rowOf(&t.text, title, 0, cells)
	return nil
}

// pushes measures a push after a change of one file.
func (t *transfers) pushes(ctx context.Context) error {
	var times []time.Duration
	for n := range t.runs {
		change := func(ctx context.Context) error {
			if err := os.WriteFile(filepath.Join(t.tree("big"), "small"), []byte(strconv.Itoa(n)), 0o644); err != nil {
				return err
			}
			return t.run(ctx, t.builder("origin", "build", "-q", "-t", t.image, t.tree("big")))
		}
		took, err := t.time(ctx, change, t.builder("origin", "push", "-q", t.image))
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	rowOf(&t.text, "push after a change of one file", 150*ms, []figures{figure(times)})
	return nil
}

// lists measures `images`.
func (t *transfers) lists(ctx context.Context) error {
	if err := os.WriteFile(t.tree("list"), []byte("FROM scratch\nARG N\nLABEL n=$N\n"), 0o644); err != nil {
		return err
	}
	for n := range listedImages {
		build := t.builder("list", "build", "-q", "-t", fmt.Sprintf("team%d/image:%d", n%50, n), "--build-arg", fmt.Sprintf("N=%d", n), "-")
		recipe, err := os.Open(t.tree("list"))
		if err != nil {
			return err
		}
		build.Stdin = recipe
		if err := errors.Join(t.run(ctx, build), recipe.Close()); err != nil {
			return err
		}
	}
	var times []time.Duration
	for range t.runs {
		took, err := t.time(ctx, func(context.Context) error { return nil }, t.builder("list", "images"))
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	rowOf(&t.text, fmt.Sprintf("`images` with %d images", listedImages), 50*ms, []figures{figure(times)})
	times = nil
	for range t.runs {
		took, err := t.time(ctx, func(context.Context) error { return nil }, t.builder("list", "version"))
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	rowOf(&t.text, "`version`: what of it is start-up", 0, []figures{figure(times)})
	return nil
}

// time prepares and runs a command. What is not yet on the disk is not the
// command's to write.
func (t *transfers) time(ctx context.Context, prepare func(context.Context) error, cmd *exec.Cmd) (time.Duration, error) {
	if err := prepare(ctx); err != nil {
		return 0, err
	}
	if err := t.run(ctx, exec.Command("sync", "-f", t.dir)); err != nil {
		return 0, err
	}
	begin := time.Now()
	err := t.run(ctx, cmd)
	return time.Since(begin), err
}

// figure is the median and the least.
func figure(all []time.Duration) figures {
	slices.Sort(all)
	n := len(all)
	return figures{least: all[0], median: (all[(n-1)/2] + all[n/2]) / 2}
}

func rowOf(w *strings.Builder, title string, target time.Duration, cells []figures) {
	fmt.Fprintf(os.Stderr, "%s: %s ms\n", title, millis(cells[0].median))
	times(w, title, target, cells)
}
