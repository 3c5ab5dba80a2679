package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"builder/image"
)

// TestMain lets the test binary be another process that uses a cache: CACHE_DO
// says what it does with the cache in CACHE_DIR.
func TestMain(m *testing.M) {
	do, ok := processes[os.Getenv("CACHE_DO")]
	if !ok {
		os.Exit(m.Run())
	}
	c, err := Open(os.Getenv("CACHE_DIR"))
	if err == nil {
		err = do(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const (
	counts  = 100 // that a process makes
	winners = 50  // keys that are put
)

var counterKeys = []Key{{1}, {2}}

// processes are what another process can do.
var processes = map[string]func(c *Cache) error{
	// count adds to counters in files, each under the lock of a key.
	"count": func(c *Cache) error {
		for i := range counts {
			k := counterKeys[i%2]
			unlock, err := c.Lock(context.Background(), k, nil)
			if err != nil {
				return err
			}
			if err := errors.Join(increment(filepath.Join(c.dir, fmt.Sprint("counter", k[0]))), unlock()); err != nil {
				return err
			}
		}
		return nil
	},
	// put puts its own number and prints who won.
	"put": func(c *Cache) error {
		for i := range winners {
			rec := numbered(i)
			rec.Layer[0] = byte(os.Getpid())
			rec.Layer[1] = byte(os.Getpid() >> 8)
			got, err := c.Put(rec.Parts.Key(), rec)
			if err != nil {
				return err
			}
			fmt.Printf("%x\n", got.Layer[:2])
		}
		return nil
	},
	// putForever puts and forgets records, and prints a dot for each.
	"putForever": func(c *Cache) error {
		l, err := c.Lease()
		if err != nil {
			return err
		}
		for i := 0; ; i++ {
			rec := numbered(i % winners)
			k := rec.Parts.Key()
			if _, err := c.Put(k, rec); err != nil {
				return err
			}
			if err := errors.Join(c.Replace(k, rec), l.Trash(c.recordPath(k))); err != nil {
				return err
			}
			if _, err := c.Put(k, rec); err != nil {
				return err
			}
			fmt.Print(".")
		}
	},
	// hold takes a lease and a lock, says so and keeps them until it is killed.
	"hold": func(c *Cache) error {
		l, err := c.Lease()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.Dir(), "left"), nil, 0o644); err != nil {
			return err
		}
		if _, err := c.Lock(context.Background(), counterKeys[0], nil); err != nil {
			return err
		}
		fmt.Print(".")
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	},
}

func numbered(i int) Record { return Record{Parts: Parts{{"number", strconv.Itoa(i)}}} }

func increment(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n, _ := strconv.Atoi(string(data))
	return os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o644)
}

// process returns a command that does something with the cache.
func process(c *Cache, do string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CACHE_DO="+do, "CACHE_DIR="+c.dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// together runs n processes at once and returns what they print.
func together(t *testing.T, c *Cache, do string, n int) []string {
	t.Helper()
	cmds := make([]*exec.Cmd, n)
	outs := make([]bytes.Buffer, n)
	for i := range cmds {
		cmds[i] = process(c, do)
		cmds[i].Stdout = &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	printed := make([]string, n)
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		printed[i] = outs[i].String()
	}
	return printed
}

func TestLockKeepsProcessesApart(t *testing.T) {
	c := newCache(t)
	const n = 5
	together(t, c, "count", n)
	for _, k := range counterKeys {
		data, err := os.ReadFile(filepath.Join(c.dir, fmt.Sprint("counter", k[0])))
		if err != nil || string(data) != strconv.Itoa(n*counts/2) {
			t.Errorf("counted to %s, want %d (%v)", data, n*counts/2, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(c.dir, "locks")); err != nil || len(left) > 0 {
		t.Errorf("lock files left: %v, %v", left, err)
	}
}

func TestFirstOfManyProcessesWins(t *testing.T) {
	c := newCache(t)
	printed := together(t, c, "put", 5)
	for _, p := range printed {
		if p != printed[0] || strings.Count(p, "\n") != winners {
			t.Errorf("one process saw\n%s\nanother\n%s", printed[0], p)
		}
	}
	for i, want := range strings.Fields(printed[0]) {
		got, ok, err := c.Get(numbered(i).Parts.Key())
		if err != nil || !ok || fmt.Sprintf("%x", got.Layer[:2]) != want {
			t.Errorf("key %d: %x, %v, %v; want %s", i, got.Layer[:2], ok, err, want)
		}
	}
}

func TestKilledWhilePutting(t *testing.T) {
	c := newCache(t)
	for round := range 20 {
		killAfter(t, process(c, "putForever"), 1+7*round)
		for i := range winners {
			// Whatever is there is whole: Get would say so by removing it.
			k := numbered(i).Parts.Key()
			_, there := os.Lstat(c.recordPath(k))
			rec, ok, err := c.Get(k)
			if err != nil || ok != (there == nil) || ok && rec.Layer != (image.ContentDigest{}) {
				t.Fatalf("round %d, key %d: %v, %v, %v", round, i, ok, err, there)
			}
		}
	}
	// The first sweep buries the dead, the second finds nobody who could miss them.
	if err := errors.Join(c.Sweep(t.Context()), c.Sweep(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"leases", "trash"} {
		if left, err := os.ReadDir(filepath.Join(c.dir, dir)); err != nil || len(left) > 0 {
			t.Errorf("%s: %d left, %v", dir, len(left), err)
		}
	}
}

// killAfter kills a command when it has written n bytes.
func killAfter(t *testing.T, cmd *exec.Cmd, n int) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, bufio.NewReader(out), int64(n)); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	var status *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &status) {
		t.Error(err)
	}
}

func TestLockOfAKilledProcessIsFree(t *testing.T) {
	c := newCache(t)
	cmd := process(c, "hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	waited := 0
	killed := make(chan struct{})
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	if _, err := c.Lock(ctx, counterKeys[0], func() { waited++; cancel(gone) }); !errors.Is(err, gone) {
		t.Errorf("a cancelled wait ends with %v", err)
	}
	unlock, err := c.Lock(t.Context(), counterKeys[0], func() {
		waited++
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		close(killed)
	})
	if err != nil {
		t.Fatal(err)
	}
	<-killed
	if waited != 2 {
		t.Errorf("waiting was called %d times, want once for each Lock", waited)
	}
	var status *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &status) {
		t.Error(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

func TestManyKeysAreLockedAtOnce(t *testing.T) {
	c := newCache(t)
	var unlocks []func() error
	for i := range 20 {
		unlock, err := c.Lock(t.Context(), Key{byte(i)}, func() { t.Errorf("key %d waits", i) })
		if err != nil {
			t.Fatal(err)
		}
		unlocks = append(unlocks, unlock)
	}
	for _, unlock := range unlocks {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	}
}
