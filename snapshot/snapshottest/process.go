package snapshottest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"builder/snapshot"
)

// processChecks are about many users of one directory.
var processChecks = []check{
	{"many commit one ID at once", func(t *testing.T, s *suite) {
		const n = 8
		want := id(snapshot.ID{}, "same")
		trees := make([]snapshot.Tree, n)
		var g errgroup.Group
		for i := range n {
			other := s.reopen(t)
			g.Go(func() error {
				a, err := other.Prepare(t.Context(), snapshot.ID{})
				if err != nil {
					return err
				}
				err = mounted(a.Mount(), func(root string) error {
					return os.WriteFile(filepath.Join(root, "marker"), fmt.Append(nil, i), 0o644)
				})
				if err != nil {
					return err
				}
				trees[i], err = other.Commit(t.Context(), a, want)
				return err
			})
		}
		must(t, g.Wait())
		for _, tree := range trees {
			if tree != trees[0] {
				t.Errorf("one got %+v, another %+v", tree, trees[0])
			}
		}
		if found := find(t, s.o.Dir, "marker"); len(found) != 1 {
			t.Errorf("the store holds %v", found)
		}
		s.empty(t, "temp")
	}},
	{"another store on the directory sees the trees", func(t *testing.T, s *suite) {
		tree := s.make(t, snapshot.ID{}, "a", shell("touch x"))
		got, ok, err := s.reopen(t).Tree(t.Context(), tree.ID)
		if err != nil || !ok || got != tree {
			t.Errorf("got %+v, %v, %v, want %+v", got, ok, err, tree)
		}
	}},
	{"many make and remove trees at once", func(t *testing.T, s *suite) {
		var g errgroup.Group
		for i := range 4 {
			other := s.reopen(t)
			g.Go(func() error { return Churn(t.Context(), other, uint64(i), 150) })
		}
		must(t, g.Wait())
		s.checkChurned(t)
		s.empty(t, "temp")
	}},
	{"what a dead process left is in nobody's way", func(t *testing.T, s *suite) {
		dead := s.prepare(t, snapshot.ID{}, shell("touch x"))
		tree := s.make(t, snapshot.ID{}, "a", shell("touch y"))
		if _, ok, err := s.reopen(t).Tree(t.Context(), tree.ID); !ok || err != nil {
			t.Errorf("Tree: %v, %v", ok, err)
		}
		if _, err := os.Lstat(dead.Dir()); err != nil {
			t.Errorf("the leftover, which the lease's owner removes, is gone: %v", err)
		}
	}},
}

// churnNames is how many trees Churn makes and removes.
const churnNames = 6

// Churn makes, grafts, commits, discards and removes a few trees in random
// order, n times. Trees that others remove meanwhile are no error; a
// tree that is there but wrong is.
func Churn(ctx context.Context, s snapshot.Snapshotter, seed uint64, n int) error {
	c := churn{s: s, r: rand.New(rand.NewPCG(seed, 3))}
	for range n {
		err := c.once(ctx)
		// A mount of what was just removed fails for want of a directory.
		if err != nil && !errors.Is(err, snapshot.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

type churn struct {
	s snapshot.Snapshotter
	r *rand.Rand
}

// tree names one of the trees: its layer holds one file, named for it.
func (c *churn) tree() (parent, own snapshot.ID, name string) {
	i := c.r.IntN(churnNames)
	if j := c.r.IntN(churnNames + 1); j < churnNames {
		parent = id(snapshot.ID{}, number(j))
	}
	return parent, id(parent, number(i)), number(i)
}

func (c *churn) once(ctx context.Context) error {
	parent, own, name := c.tree()
	switch c.r.IntN(8) {
	case 0:
		return c.s.Remove(ctx, own, parent)
	case 1:
		_, err := c.s.Add(ctx, parent, own, func(dir string, _ snapshot.Whiteouts) error {
			return os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)
		})
		return err
	case 2:
		from := id(snapshot.ID{}, name)
		if from == own {
			return nil
		}
		_, err := c.s.Graft(ctx, parent, own, from, func(yield func(snapshot.Change) bool) {
			_ = yield(snapshot.Change{}) && yield(snapshot.Change{Path: name})
		})
		return err
	case 3:
		return checkTree(ctx, c.s, parent)
	}
	return c.commit(ctx, parent, own, name)
}

func (c *churn) commit(ctx context.Context, parent, own snapshot.ID, name string) error {
	a, err := c.s.Prepare(ctx, parent)
	if err != nil {
		return err
	}
	if c.r.IntN(6) == 0 {
		return c.s.Discard(ctx, a)
	}
	err = mounted(a.Mount(), func(root string) error {
		return os.WriteFile(filepath.Join(root, name), []byte(name), 0o644)
	})
	if err != nil {
		return errors.Join(err, c.s.Discard(ctx, a))
	}
	_, err = c.s.Commit(ctx, a, own)
	return err
}

// checkTree looks into a tree that Churn made, if it is there.
func checkTree(ctx context.Context, s snapshot.Snapshotter, id snapshot.ID) error {
	tree, ok, err := s.Tree(ctx, id)
	if err != nil || !ok || id.IsZero() {
		return err
	}
	m, err := s.Mount(ctx, id)
	if err != nil {
		return err
	}
	return mounted(m, func(root string) error {
		entries, err := os.ReadDir(root)
		if err != nil {
			return err
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(root, e.Name()))
			if err != nil {
				return err
			}
			if string(data) != e.Name() {
				return fmt.Errorf("tree %s: %s holds %q", tree.ID, e.Name(), data)
			}
		}
		if len(entries) == 0 {
			return fmt.Errorf("tree %s has lost its files", tree.ID)
		}
		return nil
	})
}

// checkChurned checks all trees that Churn can have made, removes them, and
// checks that their files went with them.
func (s *suite) checkChurned(t *testing.T) {
	t.Helper()
	var all []snapshot.ID
	parents := []snapshot.ID{{}}
	for i := range churnNames {
		parents = append(parents, id(snapshot.ID{}, number(i)))
	}
	for _, parent := range parents {
		for i := range churnNames {
			all = append(all, id(parent, number(i)))
		}
	}
	for _, id := range all {
		must(t, checkTree(t.Context(), s, id))
	}
	must(t, s.Remove(t.Context(), all...))
	for i := range churnNames {
		if found := find(t, s.o.Dir, number(i)); len(found) > 0 {
			t.Errorf("all trees are removed, but there is %v", found)
		}
	}
}

// RunKilled kills processes that use one directory, again and again, and checks
// after each that what is there is whole. command returns a command that runs
// [Churn] for ever on the snapshotter that o describes, whose temporary
// directory and trash are the directories temp and trash in base.
func RunKilled(t *testing.T, open Open, command func(base string) *exec.Cmd) {
	s := &suite{open: open, base: t.TempDir()}
	s.o = Options{Dir: s.dir(t, "store"), Temp: fixed(s.dir(t, "temp")), Trash: fixed(s.dir(t, "trash"))}
	s.Snapshotter = s.reopen(t)
	for round := range 25 {
		must(t, killOne(command(s.base), round))
		for i := range churnNames {
			must(t, checkTree(t.Context(), s, id(snapshot.ID{}, number(i))))
		}
		must(t, Churn(t.Context(), s, uint64(round), 20))
	}
	s.checkChurned(t)
}

// killOne starts a command, which says that it is ready by one byte, and kills it
// after that, later in each round.
func killOne(cmd *exec.Cmd, round int) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// It writes a byte for each thing that it has done; killing it after another number
	// of them, and somewhere in the next thing, needs no clock.
	buf := make([]byte, 1)
	for range 1 + 3*round {
		if _, err := out.Read(buf); err != nil {
			return errors.Join(fmt.Errorf("it ended by itself: %w", err), cmd.Process.Kill(), cmd.Wait())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	var status *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &status) {
		return err
	}
	return nil
}

// ChurnForever is what the command of [RunKilled] does. It ends with an error.
func ChurnForever(ctx context.Context, open Open, base string, seed uint64) error {
	s, err := open(Options{
		Dir: filepath.Join(base, "store"), Temp: fixed(filepath.Join(base, "temp")), Trash: fixed(filepath.Join(base, "trash")),
	})
	if err != nil {
		return err
	}
	for {
		if err := Churn(ctx, s, seed, 1); err != nil {
			return err
		}
		seed++
		if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
			return err
		}
	}
}
