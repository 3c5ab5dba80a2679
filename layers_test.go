package builder_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers is the architecture: for each package of this module, the packages of
// this module that it may import. It is a statement of policy; an import that
// does not fit is a reason to change the design (docs/adr), not this table.
var layers = map[string]string{
	"internal/diag":       "",
	"internal/progress":   "",
	"internal/bake":       "internal/diag",
	"internal/dap":        "",
	"internal/decompress": "",
	"internal/sys":        "",
	"internal/rootfs":     "internal/sys",

	"image":          "",
	"image/layer":    "image internal/sys internal/rootfs",
	"image/store":    "image internal/sys",
	"image/layout":   "image internal/sys internal/rootfs internal/progress",
	"image/archive":  "image internal/sys internal/rootfs internal/progress",
	"image/registry": "image internal/sys internal/rootfs internal/progress",

	"parser":  "internal/diag",
	"planner": "parser image internal/diag",

	"cache":                 "image internal/sys",
	"snapshot":              "image",
	"snapshot/snapshottest": "snapshot image internal/sys",
	"snapshot/overlay":      "snapshot image image/layer internal/sys internal/rootfs",
	"snapshot/plain":        "snapshot image image/layer internal/sys internal/rootfs",
	"internal/depot":        "snapshot image image/layer image/store internal/sys internal/rootfs",

	"internal/pull": "image image/store image/registry image/layer internal/depot internal/progress internal/sys internal/diag",

	"executor/sandbox": "internal/sys internal/rootfs internal/nofile",
	"executor/network": "executor/sandbox internal/sys",
	"executor/fileop":  "planner image image/layer internal/decompress internal/rootfs internal/sys",
	"executor/source":  "image image/layer cache internal/decompress internal/sys internal/rootfs internal/progress",
	"executor": "planner cache snapshot image image/layer internal/depot internal/progress internal/diag " +
		"executor/sandbox executor/network executor/fileop executor/source",

	"internal/container": "executor/sandbox executor/network snapshot image image/store image/layer internal/sys internal/rootfs",

	".":               "parser planner executor cache snapshot image internal/depot internal/progress internal/diag",
	"internal/bench":  "",
	"internal/nofile": "",

	"internal/history":  "image",
	"internal/sshagent": "",
	"internal/cli":      "*",
	"cmd/builder":       "internal/cli executor/sandbox",
}

// heavy are imports that cost start-up time or bring what is refused elsewhere,
// each with its reason.
var heavy = map[string]string{
	"github.com/charmbracelet/bubbletea":          "its init asks the terminal and waits seconds for an answer",
	"github.com/containers/gvisor-tap-vsock":      "5 ms of init and an old gvisor",
	"github.com/sirupsen/logrus":                  "libraries do not log",
	"github.com/pkg/errors":                       "use %w",
	"io/ioutil":                                   "deprecated",
	"log":                                         "libraries do not log",
	"github.com/moby/buildkit/client":             "frontend/dockerfile packages only",
	"github.com/moby/buildkit/client/llb":         "frontend/dockerfile packages only",
	"github.com/moby/buildkit/solver/pb":          "frontend/dockerfile packages only",
	"github.com/google/go-containerregistry":      "registries are oras-go's",
	"github.com/containerd/containerd/v2":         "too heavy for start-up",
	"github.com/opencontainers/runc":              "the sandbox is ours",
	"github.com/opencontainers/selinux":           "not a feature",
	"google.golang.org/grpc":                      "1 ms of init; not needed yet",
	"github.com/docker/docker":                    "too heavy",
	"github.com/docker/cli":                       "too heavy",
	"github.com/docker/docker-credential-helpers": "oras-go has it",
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != "." && (isModule(dir) || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || dir == "bin") {
			return filepath.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			return err
		}
		pkg := filepath.ToSlash(dir)
		allowed, ok := layers[pkg]
		if !ok {
			t.Errorf("package %s has no row in the table", pkg)
			return nil
		}
		seen[pkg] = true
		for _, file := range files {
			checkFile(t, pkg, file, allowed)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range layers {
		if !seen[pkg] {
			t.Errorf("the table has a row for %s, which is not there", pkg)
		}
	}
}

// checkFile holds the imports of one file against the table. Tests may also
// import their own package and the conformance suites.
func checkFile(t *testing.T, pkg, file, allowed string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	test := strings.HasSuffix(file, "_test.go")
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		if why, ok := heavy[name]; ok && !test {
			t.Errorf("%s imports %s: %s", file, name, why)
		}
		own, ok := strings.CutPrefix(name, "builder/")
		if name == "builder" {
			own, ok = ".", true
		}
		if !ok || allowed == "*" || slices.Contains(strings.Fields(allowed), own) {
			continue
		}
		if test && (own == pkg || strings.HasPrefix(path.Base(own), path.Base(path.Dir(own))) || implements(own, allowed)) {
			continue
		}
		t.Errorf("%s: %s may not import %s", file, pkg, own)
	}
}

// implements reports whether a package is a child of one that may be imported:
// a test of who uses an interface needs something behind it.
func implements(pkg, allowed string) bool {
	return slices.Contains(strings.Fields(allowed), path.Dir(pkg))
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}
