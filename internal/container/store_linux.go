package container

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"builder/internal/sys"
	"builder/snapshot"
)

// Store is the containers of one directory. Any number of processes may use it
// at once.
type Store struct {
	Dir string
	// Volumes is the directory of volumes.
	Volumes   string
	Snapshots snapshot.Snapshotter
}

// NotFoundError says that nothing is called Name.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string { return "no such container: " + e.Name }

// ErrRunning is what cannot be done to a container that runs.
var ErrRunning = errors.New("container is running")

// errBusy is a container that another command reads or removes.
var errBusy = errors.New("container is in use by another command")

// nameForm is what docker accepts.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// New is what a container is to be made of.
type New struct {
	Spec *Spec
	Config
}

// Create makes a container, with a random name where n has none. It does not run.
func (s *Store) Create(ctx context.Context, n New) (_ *Container, err error) {
	c := n.Config
	if c.Command, err = n.Spec.command(); err != nil {
		return nil, err
	}
	if _, err := stopSignal(c.Run.StopSignal); err != nil {
		return nil, err
	}
	if c.Name != "" && !nameForm.MatchString(c.Name) {
		return nil, fmt.Errorf("invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", c.Name)
	}
	if err := s.describe(&c, n.Spec); err != nil {
		return nil, err
	}
	temporary := filepath.Join(s.Dir, ".new-"+c.ID)
	if err := os.MkdirAll(temporary, 0o711); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.removeVolumes(&c), os.RemoveAll(temporary))
		}
	}()
	alive, err := os.OpenFile(filepath.Join(temporary, aliveName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	// While it is held nobody takes the directory for that of a dead process.
	defer func() { err = errors.Join(err, alive.Close()) }()
	if _, err := sys.TryHold(alive, sys.HeldAlone); err != nil {
		return nil, err
	}
	active, err := s.Snapshots.Keep(ctx, c.Tree, filepath.Join(temporary, treeName))
	if err != nil {
		return nil, err
	}
	below := rootOf(active.Mount())
	below.Upper, below.Work, below.Writable = "", "", false
	if c.Mounts, err = s.mounts(ctx, n.Spec, below); err != nil {
		return nil, err
	}
	if err := s.publish(temporary, &c); err != nil {
		return nil, err
	}
	return load(filepath.Join(s.Dir, c.ID))
}

// describe fills in what the container knows of itself.
func (s *Store) describe(c *Config, spec *Spec) error {
	var id [32]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	c.ID, c.Created = hex.EncodeToString(id[:]), time.Now().UTC()
	c.Hostname = spec.Hostname
	if c.Hostname == "" && c.NetworkMode() != NetworkHost {
		c.Hostname = c.ID[:12]
	}
	if c.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		c.Hostname = name
	}
	c.Terminal, c.Interactive = spec.Terminal, spec.Interactive
	c.Run.Env = merge(spec.Config.Env, spec.Env)
	c.Run.WorkingDir = or(spec.Dir, spec.Config.WorkingDir)
	c.Run.User = or(spec.User, spec.Config.User)
	if spec.Entrypoint != nil {
		c.Run.Entrypoint, c.Run.Cmd = spec.Entrypoint, nil
		if slices.Equal(spec.Entrypoint, []string{""}) {
			c.Run.Entrypoint = nil
		}
	}
	if len(spec.Args) > 0 {
		c.Run.Cmd = spec.Args
	}
	return nil
}

// publish makes the container visible under a name that no other has.
func (s *Store) publish(temporary string, c *Config) (err error) {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := s.List()
	if err != nil {
		return err
	}
	names := make(map[string]string, len(all))
	for _, other := range all {
		names[other.Name] = other.ID
	}
	if other, taken := names[c.Name]; taken && c.Name != "" {
		return fmt.Errorf("the container name %q is already in use by container %q: remove that one, or choose another name", "/"+c.Name, other)
	}
	for c.Name == "" {
		name := randomName()
		if _, taken := names[name]; !taken {
			c.Name = name
		}
	}
	data, err := encode(configHeader, c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(temporary, configName), data, 0o600); err != nil {
		return err
	}
	if err := writeState(temporary, State{Status: Created}); err != nil {
		return err
	}
	return sys.RenameNoReplace(temporary, filepath.Join(s.Dir, c.ID))
}

// lock takes the lock under which names are given.
func (s *Store) lock() (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := sys.Lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// List returns all containers, the newest first.
func (s *Store) List() ([]*Container, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var all []*Container
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		c, err := load(filepath.Join(s.Dir, e.Name()))
		if gone(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b *Container) int { return b.Created.Compare(a.Created) })
	return all, nil
}

// Find returns the container that is called text: by its ID, its name, or the
// beginning of an ID that no other shares.
func (s *Store) Find(text string) (*Container, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(text, "/")
	var found []*Container
	for _, c := range all {
		if c.ID == text || c.Name == name && name != "" {
			return c, nil
		}
		if text != "" && strings.HasPrefix(c.ID, text) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, &NotFoundError{text}
	case 1:
		return found[0], nil
	}
	ids := make([]string, len(found))
	for i, c := range found {
		ids[i] = c.ShortID()
	}
	return nil, fmt.Errorf("container ID %q is ambiguous: it begins %s", text, strings.Join(ids, ", "))
}

// Sweep removes what crashes left: containers with AutoRemove that ended unseen,
// and halves of containers.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(s.Dir, e.Name())
		if !e.IsDir() {
			continue
		}
		if strings.HasPrefix(e.Name(), ".") {
			if held, herr := holding(dir); herr != nil && !gone(herr) || held == sys.HeldAlone {
				continue
			}
			err = errors.Join(err, os.RemoveAll(dir))
			continue
		}
		c, lerr := load(dir)
		if lerr == nil && c.AutoRemove && c.Status == Exited {
			if rerr := s.Remove(c, RemoveOptions{Volumes: true}); !errors.Is(rerr, errBusy) && !gone(rerr) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return err
}

// RemoveOptions say how a container is removed.
type RemoveOptions struct {
	// Volumes removes its anonymous volumes as well.
	Volumes bool
}

// Remove removes a container that does not run.
func (s *Store) Remove(c *Container, o RemoveOptions) error {
	alive, ok, err := hold(c.dir, sys.HeldAlone)
	if err != nil {
		return err
	}
	if !ok {
		return s.whyHeld(c)
	}
	return errors.Join(s.remove(c, o), alive.Close())
}

// whyHeld says why a container's lock cannot be had.
func (s *Store) whyHeld(c *Container) error {
	now, err := load(c.dir)
	if err != nil {
		return err
	}
	if now.Status == Running {
		return ErrRunning
	}
	return errBusy
}

// remove is Remove under the lock.
func (s *Store) remove(c *Container, o RemoveOptions) error {
	hidden := filepath.Join(s.Dir, ".gone-"+c.ID)
	if err := sys.RenameNoReplace(c.dir, hidden); err != nil {
		return err
	}
	err := os.RemoveAll(hidden)
	if o.Volumes {
		err = errors.Join(err, s.removeVolumes(&c.Config))
	}
	return err
}

// removeVolumes removes the anonymous volumes of a container.
func (s *Store) removeVolumes(c *Config) error {
	if !slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Anonymous }) {
		return nil
	}
	others, err := s.List()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, other := range others {
		for _, m := range other.Mounts {
			used[m.Volume] = used[m.Volume] || other.ID != c.ID
		}
	}
	for _, m := range c.Mounts {
		if m.Anonymous && !used[m.Volume] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.Volumes, m.Volume)))
		}
	}
	return err
}

// Look lets use read the tree of a container: of one that does not run while it
// cannot be started, of one that runs as it is at the moment.
func (s *Store) Look(ctx context.Context, c *Container, use func(snapshot.Active) error) (err error) {
	if c.Status != Running {
		alive, ok, err := hold(c.dir, sys.HeldShared)
		if err != nil {
			return err
		}
		if ok {
			defer func() { err = errors.Join(err, alive.Close()) }()
		}
	}
	active, err := s.Snapshots.Keep(ctx, c.Tree, filepath.Join(c.dir, treeName))
	if err != nil {
		return err
	}
	return use(active)
}

// Hold takes a container to run it. The caller lets it go by Run, Detach or Close.
func (s *Store) Hold(ctx context.Context, c *Container) (*Held, error) {
	if c.Status == Dead {
		return nil, errors.New(c.Error)
	}
	alive, ok, err := hold(c.dir, sys.HeldAlone)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, s.whyHeld(c)
	}
	h := &Held{alive: alive, launch: launch{Dir: c.dir, Volumes: s.Volumes}, config: c.Config}
	active, err := s.Snapshots.Keep(ctx, c.Tree, filepath.Join(c.dir, treeName))
	if err == nil {
		err = s.restoreMounts(c)
	}
	if err != nil {
		return nil, errors.Join(err, alive.Close())
	}
	h.Root = rootOf(active.Mount())
	// What is removed at its end need not survive a crash of the machine.
	h.Root.Durable = !c.AutoRemove
	return h, nil
}

// restoreMounts makes volumes that were removed meanwhile again, empty.
func (s *Store) restoreMounts(c *Container) error {
	for _, m := range c.Mounts {
		if m.Volume == "" {
			continue
		}
		if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(m.Source, 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}
