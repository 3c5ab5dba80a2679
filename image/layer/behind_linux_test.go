package layer

import (
	"archive/tar"
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// randomTar is some entries with names that often meet.
func randomTar(t testing.TB, r *rand.Rand) []byte {
	t.Helper()
	name := func() string {
		dirs := []string{"", "a/", "a/b/", "c/"} // mostly: else nearly every tar has a file as a parent
		letters := "abcdefgh"
		return dirs[r.IntN(len(dirs))] + letters[r.IntN(len(letters)):][:1]
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var files []string
	for i := range 1 + r.IntN(40) {
		h := tar.Header{Name: name(), Mode: 0o644, Uid: os.Geteuid(), Gid: os.Getegid()}
		var data []byte
		switch r.IntN(16) {
		case 0, 1:
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case 2:
			h.Typeflag, h.Linkname = tar.TypeSymlink, name()
		case 3:
			if len(files) == 0 {
				continue
			}
			h.Typeflag, h.Linkname = tar.TypeLink, files[r.IntN(len(files))]
		case 4:
			dir, base := split(h.Name)
			h.Name = join(dir, whiteoutPrefix+base)
		case 5:
			h.Name = join(h.Name, opaqueName)
		case 6:
			data = bytes.Repeat([]byte{byte(i)}, behindBuffer/2-1+r.IntN(3))
		default:
			data = bytes.Repeat([]byte{byte(i)}, r.IntN(5000))
		}
		if h.Size = int64(len(data)); h.Size > 0 {
			files = append(files, h.Name)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestTreesAgreeWithTheirIndex: what is done later is done as if it had been
// done at once.
func TestTreesAgreeWithTheirIndex(t *testing.T) {
	applied := 0
	for seed := range uint64(200) {
		data := randomTar(t, rand.New(rand.NewPCG(seed, 1)))
		dir := filepath.Join(t.TempDir(), "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		ix, err := Apply(t.Context(), dir, bytes.NewReader(data), ApplyOptions{})
		if err != nil {
			continue // a link to what is not there, or a loop
		}
		only, err := Apply(t.Context(), "", bytes.NewReader(data), ApplyOptions{})
		if err != nil {
			t.Fatalf("seed %d: index alone: %v", seed, err)
		}
		applied++
		sameEntries(t, "index alone", only.Entries, ix.Entries)
		sameStack(t, dropLinks{NewStack(ix)}, dropLinks{NewStack(scanAll(t, dir))})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if applied < 50 {
		t.Errorf("only %d of the tars could be applied", applied)
	}
}
