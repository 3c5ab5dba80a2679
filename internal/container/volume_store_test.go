package container_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"builder/internal/container"
	"builder/internal/sys"
)

// Half a volume of a dead process is swept, one that is being filled stays, and
// neither is listed.
func TestSweepVolumes(t *testing.T) {
	s := &container.Store{Dir: filepath.Join(t.TempDir(), "c"), Volumes: t.TempDir()}
	dead, busy := filepath.Join(s.Volumes, ".new-DEAD"), filepath.Join(s.Volumes, ".new-BUSY")
	for _, dir := range []string{dead, busy} {
		if err := os.MkdirAll(filepath.Join(dir, "data", "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := sys.Lock(f); err != nil {
		t.Fatal(err)
	}
	if err := s.SweepVolumes(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead process left is there: %v", err)
	}
	if _, err := os.Stat(busy); err != nil {
		t.Errorf("what is being filled is gone: %v", err)
	}
	if all, err := s.ListVolumes(); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v", all, err)
	}
}

// Any number of processes make, sweep and remove volumes at once.
func TestVolumesAtOnce(t *testing.T) {
	s := &container.Store{Dir: filepath.Join(t.TempDir(), "c"), Volumes: t.TempDir()}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := s.CreateVolume("shared", nil); err != nil {
					t.Errorf("create: %v", err)
				}
				if err := s.SweepVolumes(); err != nil {
					t.Errorf("sweep: %v", err)
				}
				if v, err := s.CreateVolume("", map[string]string{"a": "b"}); err != nil || !v.Anonymous() || v.Labels["a"] != "b" {
					t.Errorf("got %+v, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
	all, err := s.ListVolumes()
	if err != nil || len(all) != 201 {
		t.Errorf("got %d volumes, %v", len(all), err)
	}
	for _, v := range all {
		if err := s.RemoveVolume(v.Name, os.RemoveAll); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	left, err := os.ReadDir(s.Volumes)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
