package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkMounts builds again after one of 10,000 files of 8 kB has changed: a RUN that
// gets them by COPY or by a bind, with a cache and without.
func BenchmarkMounts(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	dir, err := os.MkdirTemp(memory(), "builder-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(dir, "builder")
	if err := os.Symlink(self, program); err != nil {
		b.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		b.Fatalf("busybox-static is needed: %v", err)
	}
	put := func(name string, data []byte) {
		b.Helper()
		name = filepath.Join(dir, "ctx", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o755); err != nil {
			b.Fatal(err)
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		b.Fatal(err)
	}
	put("busybox", data)
	put(".dockerignore", []byte("Dockerfile.*\n"))
	for i := range 10000 {
		put(fmt.Sprintf("src/%02d/%04d.c", i%100, i), fmt.Appendf(make([]byte, 8000), "%d", i))
	}
	n := 0
	for _, c := range []struct{ name, recipe string }{
		{"copy", "COPY src /src\nRUN "},
		{"copy_cache", "COPY src /src\nRUN --mount=type=cache,id=1,target=/c "},
		{"bind", "RUN --mount=type=bind,source=src,target=/src "},
		{"bind_cache", "RUN --mount=type=bind,source=src,target=/src --mount=type=cache,id=2,target=/c "},
	} {
		put("Dockerfile."+c.name, []byte("FROM scratch\nCOPY busybox /bin/busybox\n"+c.recipe+`["/bin/busybox", "true"]`+"\n"))
		build := func() {
			n++
			put("src/07/0007.c", fmt.Append(nil, n))
			cmd := exec.Command(program, "build", "-q", "-f", filepath.Join(dir, "ctx", "Dockerfile."+c.name), filepath.Join(dir, "ctx"))
			cmd.Env = append(os.Environ(), "BUILDER_ROOT="+filepath.Join(dir, "store"))
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
		b.Run(c.name, func(b *testing.B) {
			build()
			for b.Loop() {
				build()
			}
		})
	}
}
