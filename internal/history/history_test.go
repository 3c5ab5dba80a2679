package history

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	return New(filepath.Join(dir, "history"), dir)
}

func record(ref string, at int64) *Record {
	return &Record{Version: Version, Ref: ref, Status: Completed, StartedAt: time.Unix(at, 0).UTC(), CompletedAt: time.Unix(at+1, 0).UTC()}
}

func refs(t *testing.T, s *Store) string {
	t.Helper()
	list, err := s.List(func(err error) { t.Log(err) })
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, k := range list {
		words = append(words, k.Ref)
	}
	return strings.Join(words, " ")
}

func TestRecordsAreFoundAndBounded(t *testing.T) {
	s := newStore(t)
	for i, ref := range []string{"aaaaaaaa1", "aaaaaaaa2", "bbbbbbbb3", "cccccccc4"} {
		if err := s.Put(record(ref, int64(1000+i)), []byte("log of "+ref), Limits{Records: 3}); err != nil {
			t.Fatal(err)
		}
	}
	if got := refs(t, s); got != "cccccccc4 bbbbbbbb3 aaaaaaaa2" {
		t.Errorf("got %s", got)
	}
	for word, want := range map[string]string{"^0": "cccccccc4", "^2": "aaaaaaaa2", "a": "aaaaaaaa2", "default/default/bbbb": "bbbbbbbb3"} {
		k, err := s.Find(word)
		if err != nil || k.Ref != want {
			t.Errorf("%s: %v %v", word, k.Record, err)
			continue
		}
		if log, err := k.Log(); err != nil || string(log) != "log of "+want {
			t.Errorf("%s: log %q %v", word, log, err)
		}
	}
	for _, word := range []string{"^3", "^x", "^-1", "", "zz", "a/"} {
		if _, err := s.Find(word); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", word, err)
		}
	}
	if err := s.Put(record("dddddddd5", 2000), bytes.Repeat([]byte("x"), 100), Limits{Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	if got := refs(t, s); got != "dddddddd5" {
		t.Errorf("by bytes: got %s", got)
	}
}

func TestManyPutAtOnce(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.Put(record("build"+strings.Repeat(string(rune('a'+i)), 5), int64(i)), nil, Limits{Records: 5}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := len(strings.Fields(refs(t, s))); got > 5 {
		t.Errorf("%d stay", got)
	}
}

func TestBundleIsTheRecords(t *testing.T) {
	s, other := newStore(t), newStore(t)
	for i, ref := range []string{"aaaaaaaa1", "bbbbbbbb2"} {
		if err := s.Put(record(ref, int64(i+5)), []byte(ref), Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Export(&b, list); err != nil {
		t.Fatal(err)
	}
	if err := Import(bytes.NewReader(b.Bytes()), func(r *Record, log []byte) error { return other.Put(r, log, Limits{}) }); err != nil {
		t.Fatal(err)
	}
	if got := refs(t, other); got != "bbbbbbbb2 aaaaaaaa1" {
		t.Errorf("got %s", got)
	}
	k, err := other.Find("^0")
	if log, lerr := k.Log(); err != nil || lerr != nil || !k.Imported || string(log) != "bbbbbbbb2" {
		t.Errorf("%+v %q %v %v", k.Record, log, err, lerr)
	}
	if err := Import(bytes.NewReader(b.Bytes()[:b.Len()/2]), func(*Record, []byte) error { return nil }); err == nil {
		t.Error("half a bundle is taken")
	}
}

func TestWhatIsNoRecordIsSkipped(t *testing.T) {
	s := newStore(t)
	if err := s.Put(record("aaaaaaaa1", 1), nil, Limits{}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"0000000000000001-torntorn": `{"Version":1,"Ref":"torn`, "0000000000000002-otherone": `{"Version":9}` + "\n", "notes": "mine",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var skipped []string
	list, err := s.List(func(err error) { skipped = append(skipped, err.Error()) })
	if err != nil || len(list) != 1 || len(skipped) != 2 {
		t.Errorf("%v %v %v", list, skipped, err)
	}
}

func FuzzImport(f *testing.F) {
	s := New(filepath.Join(f.TempDir(), "h"), f.TempDir())
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		f.Fatal(err)
	}
	s.temp = s.dir
	if err := s.Put(record("aaaaaaaa1", 1), []byte("{}\n"), Limits{}); err != nil {
		f.Fatal(err)
	}
	list, err := s.List(func(error) {})
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := Export(&b, list); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("builder-history"))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := Import(bytes.NewReader(data), func(r *Record, log []byte) error {
			if strings.ContainsAny(name(r), "/.") || !r.Imported {
				t.Errorf("took %q", name(r))
			}
			return nil
		})
		_ = err // rejected politely
	})
}

func FuzzDecode(f *testing.F) {
	good, err := encode(record("aaaaaaaa1", 1), []byte("{}\n"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{\"Version\":1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, log, err := decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		if !r.valid() {
			t.Errorf("took %+v", r)
		}
		if _, err := log(); err != nil {
			return
		}
	})
}
