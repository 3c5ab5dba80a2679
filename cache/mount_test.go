package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"builder/image"
)

func take(t *testing.T, c *Cache, s MountSpec) *Mount {
	t.Helper()
	m, err := c.Mount(t.Context(), s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func closeMount(t *testing.T, m *Mount) {
	t.Helper()
	if err := errors.Join(m.Done(), m.Close()); err != nil {
		t.Fatal(err)
	}
}

func openCache(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lease()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestACacheIsSharedPrivateOrLocked(t *testing.T) {
	c := openCache(t)
	shared := MountSpec{ID: "x"}
	a, b := take(t, c, shared), take(t, c, shared)
	if a.Dir() != b.Dir() || !a.Fresh || b.Fresh {
		t.Errorf("shared: got %s and %s", a.Dir(), b.Dir())
	}
	p := take(t, c, MountSpec{ID: "x", Alone: true})
	if p.Dir() == a.Dir() {
		t.Error("private: got the one that others use")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	_, err := c.Mount(ctx, MountSpec{ID: "x", Alone: true, Wait: true}, func() { cancel(gone) }, nil)
	if !errors.Is(err, gone) {
		t.Errorf("locked: got %v, want to wait", err)
	}
	if o := take(t, c, MountSpec{ID: "x", Begin: "other"}); o.Dir() == a.Dir() {
		t.Error("what begins otherwise is the same")
	} else {
		closeMount(t, o)
	}
	for _, m := range []*Mount{a, b, p} {
		closeMount(t, m)
	}
	again := take(t, c, MountSpec{ID: "x", Alone: true, Wait: true})
	if again.Dir() != a.Dir() {
		t.Error("the first one is not used again")
	}
	closeMount(t, again)
}

func TestACacheInUseIsNotRemoved(t *testing.T) {
	c := openCache(t)
	l, err := c.anyLease()
	if err != nil {
		t.Fatal(err)
	}
	m := take(t, c, MountSpec{ID: "ns/id"})
	list, err := c.Mounts()
	if err != nil || len(list) != 1 || list[0].ID != "ns/id" || !list[0].Active {
		t.Fatalf("got %+v, %v", list, err)
	}
	if ok, err := l.RemoveMount(list[0]); ok || err != nil {
		t.Errorf("removed while in use: %v, %v", ok, err)
	}
	closeMount(t, m)
	if ok, err := l.RemoveMount(list[0]); !ok || err != nil {
		t.Errorf("not removed: %v, %v", ok, err)
	}
	if list, err := c.Mounts(); len(list) != 0 || err != nil {
		t.Errorf("still there: %+v, %v", list, err)
	}
}

func TestTheLedgerIsWhatTheLastStepSaw(t *testing.T) {
	c := openCache(t)
	m := take(t, c, MountSpec{ID: "x"})
	if l, err := m.Ledger(); err != nil || l.Lost || l.Files != nil {
		t.Fatalf("a new one: got %+v, %v", l, err)
	}
	saw := Ledger{Base: []image.ContentDigest{{1}, {2}}, Files: map[string]Seen{"/a": {[32]byte{1}, 5}, "/b": {[32]byte{2}, -6}}}
	before := time.Now().Add(-time.Second).UnixNano()
	if err := m.See(saw); err != nil {
		t.Fatal(err)
	}
	got, err := m.Ledger()
	if diff := cmp.Diff(saw, got); diff != "" || err != nil {
		t.Errorf("while the step runs: %v -want +got\n%s", err, diff)
	}
	closeMount(t, m)
	m = take(t, c, MountSpec{ID: "x"})
	if got, err = m.Ledger(); err != nil || got.Ended < before {
		t.Errorf("afterwards: ended %d, %v", got.Ended, err)
	}
	// One that is torn says nothing.
	path := filepath.Join(m.dir, ledgerName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Ledger(); err != nil || !got.Lost || got.Files != nil {
		t.Errorf("torn: got %+v, %v", got, err)
	}
	closeMount(t, m)
}

func TestWhatTwoStepsSawOtherwiseIsNewAfterwards(t *testing.T) {
	c := openCache(t)
	a, b := take(t, c, MountSpec{ID: "x"}), take(t, c, MountSpec{ID: "x"})
	see := func(m *Mount, first byte) {
		t.Helper()
		if err := m.See(Ledger{Files: map[string]Seen{"/a": {[32]byte{first}, 5}, "/b": {[32]byte{7}, 6}}}); err != nil {
			t.Fatal(err)
		}
	}
	see(a, 1)
	see(b, 2)
	closeMount(t, a)
	if l, err := b.Ledger(); err != nil || l.Ended != 0 {
		t.Errorf("the end is known while one is at work: %+v, %v", l, err)
	}
	closeMount(t, b)
	m := take(t, c, MountSpec{ID: "x"})
	l, err := m.Ledger()
	if err != nil || l.Ended == 0 {
		t.Errorf("got %+v, %v", l, err)
	}
	if diff := cmp.Diff(map[string]Seen{"/b": {[32]byte{7}, 6}}, l.Files); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	closeMount(t, m)
}

func FuzzLedger(f *testing.F) {
	f.Add(Ledger{Base: []image.ContentDigest{{1}}, Files: map[string]Seen{"/a": {[32]byte{3}, 9}}}.encode())
	f.Add([]byte(ledgerHead + strings.Repeat("\xff", 64)))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, ok := decodeLedger(data)
		if !ok {
			return
		}
		again, ok := decodeLedger(l.encode())
		if diff := cmp.Diff(l, again); !ok || diff != "" {
			t.Errorf("-first +again\n%s", diff)
		}
	})
}
