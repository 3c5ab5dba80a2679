package registry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"builder/image"
	"builder/internal/progress"
)

// The password of "user" is "secret".
const htpasswd = "user:$2a$04$JqPI6n6IKQgIz56oygOepe690uSPXsS1fnTNKz.dUiLZtIGq7RHdq\n"

// serve starts Debian's registry on loopback and returns its address.
func serve(t *testing.T, passwords string) string {
	t.Helper()
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("docker-registry is not installed")
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/state}}\nhttp: {addr: '127.0.0.1:0'}\n", dir)
	if passwords != "" {
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir)
		if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(passwords), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", path)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var drained sync.WaitGroup
	t.Cleanup(func() {
		cmd.Process.Kill()
		drained.Wait()
		cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			drained.Go(func() {
				for lines.Scan() {
				}
			})
			return m[1]
		}
	}
	t.Fatal("the registry did not start")
	return ""
}

// noCredentials keeps the tests from the user's own.
func noCredentials(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	return dir
}

type blobs map[image.Digest][]byte

func (b blobs) Open(_ context.Context, d image.Descriptor) (io.ReadCloser, error) {
	data, ok := b[d.Digest]
	if !ok {
		return nil, fmt.Errorf("no blob %s", d.Digest)
	}
	return &once{Reader: bytes.NewReader(data)}, nil
}

// once may be closed once, as a file may.
type once struct {
	io.Reader
	closed atomic.Bool
}

func (o *once) Close() error {
	if o.closed.Swap(true) {
		return os.ErrClosed
	}
	return nil
}

// export makes an image for a platform whose layers are the texts. They are no
// tars: registries do not look.
func export(t *testing.T, types image.MediaTypes, arch string, texts ...string) image.Export {
	t.Helper()
	c := image.Config{Architecture: arch, OS: "linux", RootFS: image.RootFS{Type: "layers", DiffIDs: []image.Digest{}}}
	b := blobs{}
	var layers []image.Descriptor
	for _, text := range texts {
		d := image.Descriptor{MediaType: types.Layer(image.Uncompressed), Digest: digest.FromString(text), Size: int64(len(text))}
		b[d.Digest] = []byte(text)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, d.Digest)
		layers = append(layers, d)
	}
	config, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := image.Pack(types, config, layers, nil)
	if err != nil {
		t.Fatal(err)
	}
	return image.Export{Packed: p, Blobs: b}
}

func ref(t *testing.T, s string) image.Reference {
	t.Helper()
	r, err := image.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var amd64 = image.Platform{OS: "linux", Architecture: "amd64"}

func TestPushThenPullGivesTheSameImage(t *testing.T) {
	noCredentials(t)
	host := serve(t, "")
	for _, types := range []image.MediaTypes{image.OCI, image.Docker} {
		e := export(t, types, "amd64", "one", strings.Repeat("two", 100_000), "one")
		name := ref(t, fmt.Sprintf("%s/a/b:%d", host, types))
		pushed, err := New(Options{}).Push(t.Context(), name, []image.Export{e}, PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pushed.Digest != e.Manifest.Digest {
			t.Errorf("pushed %s, not %s", pushed.Digest, e.Manifest.Digest)
		}
		for _, asked := range []image.Reference{name, mustPin(t, name, pushed.Digest)} {
			r, err := New(Options{}).Resolve(t.Context(), asked, amd64)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e.Packed, r.Packed); diff != "" || r.Digest != pushed.Digest || r.Reference.Digest() != pushed.Digest {
				t.Errorf("%s: %s", r.Reference, diff)
			}
			for _, l := range r.Layers {
				for _, from := range []int64{0, 2} {
					got := readAll(t, r, l, from)
					if want := e.Blobs.(blobs)[l.Digest][from:]; !bytes.Equal(got, want) {
						t.Errorf("blob %s from %d: %d bytes, want %d", l.Digest, from, len(got), len(want))
					}
				}
			}
		}
	}
}

func mustPin(t *testing.T, r image.Reference, d image.Digest) image.Reference {
	t.Helper()
	pinned, err := r.WithDigest(d)
	if err != nil {
		t.Fatal(err)
	}
	return pinned
}

func readAll(t *testing.T, r *Remote, d image.Descriptor, from int64) []byte {
	t.Helper()
	body, err := r.Blob(d).Open(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAnIndexGivesTheImageOfThePlatform(t *testing.T) {
	noCredentials(t)
	name := ref(t, serve(t, "")+"/multi")
	c := New(Options{})
	var all []image.Export
	for _, arch := range []string{"arm64", "amd64", "386"} {
		all = append(all, export(t, image.OCI, arch, arch))
	}
	pushed, err := c.Push(t.Context(), name, all, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		r, err := c.Resolve(t.Context(), name, *e.Manifest.Platform)
		if err != nil || r.ID() != e.ID() || r.Digest != pushed.Digest || len(r.IndexBytes) == 0 {
			t.Errorf("%s: got %v, %v", e.Manifest.Platform.Architecture, r, err)
		}
	}
	_, err = c.Resolve(t.Context(), name, image.Platform{OS: "linux", Architecture: "s390x"})
	if err == nil || !strings.Contains(err.Error(), "linux/s390x, only for linux/arm64, linux/amd64, linux/386") {
		t.Errorf("got %v", err)
	}
}

func TestBlobsThatAreThereAreNotSent(t *testing.T) {
	noCredentials(t)
	host := serve(t, "")
	c := New(Options{})
	e := export(t, image.OCI, "amd64", "one")
	if _, err := c.Push(t.Context(), ref(t, host+"/a"), []image.Export{e}, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	// The second push has no bytes to send.
	e.Blobs = blobs{}
	if _, err := c.Push(t.Context(), ref(t, host+"/a:again"), []image.Export{e}, PushOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Push(t.Context(), ref(t, host+"/b"), []image.Export{e}, PushOptions{Known: map[image.Digest]string{e.Layers[0].Digest: "a"}}); err != nil {
		t.Errorf("mount: %v", err)
	}
	if _, err := c.Push(t.Context(), ref(t, host+"/c"), []image.Export{e}, PushOptions{}); err == nil {
		t.Error("a blob came from nowhere")
	}
}

func TestCredentialsAreDockersAndForExactlyTheirHost(t *testing.T) {
	dir := noCredentials(t)
	host := serve(t, htpasswd)
	name := ref(t, host+"/private")
	e := export(t, image.OCI, "amd64", "one")
	push := func() error {
		_, err := New(Options{}).Push(t.Context(), name, []image.Export{e}, PushOptions{})
		return err
	}
	if err := push(); !errors.Is(err, ErrDenied) {
		t.Errorf("without credentials: %v", err)
	}
	for _, c := range []struct {
		host, password string
		denied         bool
	}{{host, "wrong", true}, {"x" + host, "secret", true}, {host + "0", "secret", true}, {host, "secret", false}} {
		auth := base64.StdEncoding.EncodeToString([]byte("user:" + c.password))
		config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, c.host, auth)
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := push(); errors.Is(err, ErrDenied) != c.denied || (err != nil) != c.denied {
			t.Errorf("%s for %s: %v", c.password, c.host, err)
		}
	}
	helper := "#!/bin/sh\nread host\n[ \"$host\" = " + host + " ] && echo '{\"ServerURL\":\"\",\"Username\":\"user\",\"Secret\":\"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helper), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credHelpers":{"`+host+`":"test"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := push(); err != nil {
		t.Errorf("with a credential helper: %v", err)
	}
}

func TestMirrorsAreAskedFirstThenTheRegistryItself(t *testing.T) {
	noCredentials(t)
	mirror, own := serve(t, ""), serve(t, "")
	inMirror, inBoth := export(t, image.OCI, "amd64", "mirror"), export(t, image.OCI, "amd64", "own")
	for name, e := range map[string]image.Export{mirror + "/cache/app:1": inMirror, own + "/app:1": inBoth, own + "/app:2": inBoth} {
		if _, err := New(Options{}).Push(t.Context(), ref(t, name), []image.Export{e}, PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	config, err := ParseConfig([]byte(fmt.Sprintf("[registry.%q]\nmirrors = [\"127.0.0.1:1\", %q]\n", own, mirror+"/cache")))
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Config: config})
	for name, want := range map[string]image.Export{"/app:1": inMirror, "/app:2": inBoth} {
		r, err := c.Resolve(t.Context(), ref(t, own+name), amd64)
		if err != nil || r.ID() != want.ID() {
			t.Fatalf("%s: %v", name, err)
		}
		readAll(t, r, r.Layers[0], 0)
	}
	if _, err := c.Resolve(t.Context(), ref(t, own+"/app:3"), amd64); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

// hostile is a server whose answers are the test's.
func hostile(t *testing.T, h http.HandlerFunc) image.Reference {
	t.Helper()
	noCredentials(t)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return ref(t, strings.TrimPrefix(s.URL, "http://")+"/app:1")
}

func TestHostileAnswersAreRefused(t *testing.T) {
	e := export(t, image.OCI, "amd64", "one")
	good := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", e.Manifest.MediaType)
			w.Write(e.ManifestBytes)
		case strings.HasSuffix(r.URL.Path, string(e.Config.Digest)):
			w.Write(e.ConfigBytes)
		}
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}
	typed := func(mediaType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			io.WriteString(w, body)
		}
	}
	onConfig := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, string(e.Config.Digest)) {
				h(w, r)
				return
			}
			good(w, r)
		}
	}
	if _, err := New(Options{}).Resolve(t.Context(), hostile(t, good), amd64); err != nil {
		t.Fatalf("the good answer: %v", err)
	}
	for _, c := range []struct {
		name, want string
		h          http.HandlerFunc
	}{
		{"schema 1", "schema 1", typed("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`)},
		{"schema 1 under a new type", "schema 1", typed(image.Docker.Manifest(), `{"schemaVersion":1}`)},
		{"a web page", "text/html", typed("text/html", "<html>")},
		{"an endless manifest", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", image.OCI.Manifest())
			if r.Method == http.MethodGet {
				endless(w, r)
			}
		}},
		{"a manifest with another digest", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			good(w, r)
		}},
		{"manifest and index at once", "both", typed(image.OCI.Manifest(), `{"schemaVersion":2,"manifests":[{}],"layers":[{}],"config":{}}`)},
		{"a config of another digest", "", onConfig(func(w http.ResponseWriter, r *http.Request) {
			w.Write(bytes.Replace(e.ConfigBytes, []byte("amd64"), []byte("arm64"), 1))
		})},
		{"a short config", "", onConfig(func(w http.ResponseWriter, r *http.Request) { w.Write(e.ConfigBytes[1:]) })},
		{"an endless config", "", onConfig(endless)},
		{"no config", "not found", onConfig(http.NotFound)},
	} {
		_, err := New(Options{}).Resolve(t.Context(), hostile(t, c.h), amd64)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestADigestIsWhatIsAskedFor(t *testing.T) {
	e, other := export(t, image.OCI, "amd64", "one"), export(t, image.OCI, "amd64", "two")
	name := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", other.Manifest.MediaType)
		w.Write(other.ManifestBytes)
	})
	if _, err := New(Options{}).Resolve(t.Context(), mustPin(t, name, e.Manifest.Digest), amd64); err == nil {
		t.Error("another manifest was taken for the one that was asked for")
	}
}

func TestLaterMeansLater(t *testing.T) {
	e := export(t, image.OCI, "amd64")
	var asked atomic.Int32
	name := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := asked.Add(1); {
		case n == 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case n == 2:
			w.WriteHeader(http.StatusBadGateway)
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", e.Manifest.MediaType)
			w.Write(e.ManifestBytes)
		default:
			w.Write(e.ConfigBytes)
		}
	})
	if _, err := New(Options{}).Resolve(t.Context(), name, amd64); err != nil || asked.Load() != 4 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestMuchLaterMeansNo(t *testing.T) {
	var asked atomic.Int32
	name := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if _, err := New(Options{}).Resolve(t.Context(), name, amd64); err == nil || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestTheEndOfTheContextEndsWaiting(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	name := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "50")
		w.WriteHeader(http.StatusServiceUnavailable)
		cancel(errors.New("enough"))
	})
	if _, err := New(Options{}).Resolve(ctx, name, amd64); err == nil {
		t.Error("an image came from nowhere")
	}
}

func TestLocalRegistriesSpeakEitherWay(t *testing.T) {
	noCredentials(t)
	e := export(t, image.OCI, "amd64")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", e.Manifest.MediaType)
			w.Write(e.ManifestBytes)
			return
		}
		w.Write(e.ConfigBytes)
	}))
	defer s.Close()
	name := ref(t, strings.TrimPrefix(s.URL, "https://")+"/app")
	if _, err := New(Options{}).Resolve(t.Context(), name, amd64); err != nil {
		t.Errorf("https on loopback: %v", err)
	}
	no := false
	strict := Options{Config: Config{Registry: map[string]Settings{name.Domain(): {HTTP: &no}}}}
	if _, err := New(strict).Resolve(t.Context(), name, amd64); err == nil {
		t.Error("an unknown certificate was trusted although http was switched off")
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(s.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	strict.Config.Registry[name.Domain()] = Settings{HTTP: &no, CA: []string{ca}}
	if _, err := New(strict).Resolve(t.Context(), name, amd64); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
}

func pemOf(der []byte) []byte {
	text := base64.StdEncoding.EncodeToString(der)
	return []byte("-----BEGIN CERTIFICATE-----\n" + text + "\n-----END CERTIFICATE-----\n")
}

type sink struct {
	mu   sync.Mutex
	done map[string]int64
}

func (s *sink) Progress(e progress.Event) {
	if a, ok := e.(progress.Advanced); ok && a.Done {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done[a.Part] = a.Current
	}
}

// The layers are what people wait for: the config is not shown.
func TestPushShowsItsProgress(t *testing.T) {
	noCredentials(t)
	e := export(t, image.OCI, "amd64", "one")
	s := &sink{done: map[string]int64{}}
	if _, err := New(Options{}).Push(t.Context(), ref(t, serve(t, "")+"/a"), []image.Export{e}, PushOptions{Sink: s}); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"pushing " + string(e.Layers[0].Digest): 3}
	if !cmp.Equal(s.done, want) {
		t.Errorf("got %v, want %v", s.done, want)
	}
}

func TestSkopeoReadsWhatIsPushed(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed")
	}
	noCredentials(t)
	host := serve(t, "")
	e := export(t, image.OCI, "amd64", "one")
	if _, err := New(Options{}).Push(t.Context(), ref(t, host+"/a:1"), []image.Export{e}, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://"+host+"/a:1").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != string(e.Manifest.Digest) {
		t.Errorf("%v: %s", err, out)
	}
}
