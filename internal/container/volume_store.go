package container

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
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
)

// LabelAnonymous marks volumes that nobody gave a name, as docker does.
const LabelAnonymous = "com.docker.volume.anonymous"

// KeptVolume is a volume of the store.
type KeptVolume struct {
	Name    string
	Created time.Time
	Labels  map[string]string
	// Dir has its files.
	Dir string
}

// Anonymous reports whether nobody gave the volume its name.
func (v *KeptVolume) Anonymous() bool {
	_, ok := v.Labels[LabelAnonymous]
	return ok
}

// NoVolumeError says that no volume is called Name.
type NoVolumeError struct{ Name string }

// Error is worded as docker's.
func (e *NoVolumeError) Error() string { return "get " + e.Name + ": no such volume" }

// VolumeInUseError says which containers have a volume.
type VolumeInUseError struct {
	Name string
	By   []string // IDs
}

// Error is worded as docker's.
func (e *VolumeInUseError) Error() string {
	return fmt.Sprintf("remove %s: volume is in use - [%s]", e.Name, strings.Join(e.By, ", "))
}

// The files of a volume's directory.
const (
	volumeData = "data"
	volumeNote = "volume"
	// newVolumePrefix begins the name of a volume to be.
	newVolumePrefix = ".new-"
)

// volumeState is the file beside a volume's files.
type volumeState struct {
	Version int
	Created time.Time
	Labels  map[string]string `json:",omitempty"`
}

// anonymousName is what volumes without a name of their own are called.
var anonymousName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// newVolumeName names an anonymous volume.
func newVolumeName() (string, error) {
	var id [32]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(id[:]), nil
}

// CreateVolume makes an empty volume, or returns the one that has the name
// already. Without a name it gets a random one.
func (s *Store) CreateVolume(name string, labels map[string]string) (*KeptVolume, error) {
	anonymous := name == ""
	if anonymous {
		var err error
		if name, err = newVolumeName(); err != nil {
			return nil, err
		}
	}
	if !volumeName.MatchString(name) {
		return nil, fmt.Errorf("create %s: %q includes invalid characters for a local volume name, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name, name)
	}
	err := s.makeVolume(name, noted(labels, anonymous), func(dir string) error { return os.Mkdir(dir, 0o755) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create volume %s: %w", name, err)
	}
	return s.FindVolume(name)
}

// noted adds the mark of anonymous volumes.
func noted(labels map[string]string, anonymous bool) map[string]string {
	if !anonymous {
		return labels
	}
	all := map[string]string{LabelAnonymous: ""}
	for k, v := range labels {
		all[k] = v
	}
	return all
}

// makeVolume publishes a volume whose files fill makes. The error is
// [fs.ErrExist] where there is one.
func (s *Store) makeVolume(name string, labels map[string]string, fill func(dir string) error) (err error) {
	temporary, lock, err := s.newVolume()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	note, err := json.Marshal(volumeState{Version: 1, Created: time.Now().UTC(), Labels: labels})
	if err == nil {
		err = os.WriteFile(filepath.Join(temporary, volumeNote), note, 0o600)
	}
	if err == nil {
		err = fill(filepath.Join(temporary, volumeData))
	}
	if err == nil {
		err = sys.RenameNoReplace(temporary, filepath.Join(s.Volumes, name))
	}
	if err != nil {
		err = errors.Join(err, os.RemoveAll(temporary))
	}
	return err
}

// newVolume makes a directory for a volume to be and locks it: then nobody takes
// it for what a dead process left.
func (s *Store) newVolume() (dir string, lock *os.File, err error) {
	for {
		dir = filepath.Join(s.Volumes, newVolumePrefix+rand.Text())
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return "", nil, err
		}
		lock, err = os.Open(dir)
		if gone(err) {
			continue // swept before it was locked
		}
		if err != nil {
			return "", nil, err
		}
		if err := sys.Lock(lock); err != nil {
			return "", nil, errors.Join(err, lock.Close())
		}
		if _, err := os.Stat(dir); err == nil {
			return dir, lock, nil
		} else if !gone(err) {
			return "", nil, errors.Join(err, lock.Close())
		}
		if err := lock.Close(); err != nil {
			return "", nil, err
		}
	}
}

// SweepVolumes removes what processes left that died while they made a volume.
func (s *Store) SweepVolumes() (err error) {
	entries, err := os.ReadDir(s.Volumes)
	if gone(err) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), newVolumePrefix) {
			err = errors.Join(err, sweepVolume(filepath.Join(s.Volumes, e.Name())))
		}
	}
	return err
}

func sweepVolume(dir string) (err error) {
	f, err := os.Open(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if ok, err := sys.TryLock(f); err != nil || !ok {
		return err
	}
	return os.RemoveAll(dir)
}

// ListVolumes returns all volumes, sorted by name.
func (s *Store) ListVolumes() ([]*KeptVolume, error) {
	entries, err := os.ReadDir(s.Volumes)
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var all []*KeptVolume
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		v, err := s.FindVolume(e.Name())
		if errors.As(err, new(*NoVolumeError)) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// FindVolume returns the volume of a name. The error is a [*NoVolumeError] where
// there is none.
func (s *Store) FindVolume(name string) (*KeptVolume, error) {
	if !volumeName.MatchString(name) {
		return nil, &NoVolumeError{name}
	}
	dir := filepath.Join(s.Volumes, name)
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoVolumeError{name}
	}
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", name, err)
	}
	v := &KeptVolume{Name: name, Created: st.ModTime().UTC(), Dir: filepath.Join(dir, volumeData)}
	// A volume without the file, or with one that is torn, has its files all the same.
	v.Labels = noted(nil, anonymousName.MatchString(name))
	data, err := os.ReadFile(filepath.Join(dir, volumeNote))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("volume %s: %w", name, err)
	}
	var note volumeState
	if json.Unmarshal(data, &note) == nil && note.Version == 1 {
		v.Created, v.Labels = note.Created, note.Labels
	}
	return v, nil
}

// VolumeUsers returns the containers that have volumes, by the volumes' names.
func (s *Store) VolumeUsers() (map[string][]*Container, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	users := map[string][]*Container{}
	for _, c := range all {
		for _, m := range c.Mounts {
			if m.Volume != "" && !slices.Contains(users[m.Volume], c) {
				users[m.Volume] = append(users[m.Volume], c)
			}
		}
	}
	return users, nil
}

// RemoveVolume removes a volume that no container has; trash takes its directory
// out of the way. The error is a [*NoVolumeError] or a [*VolumeInUseError] where
// that is the reason.
func (s *Store) RemoveVolume(name string, trash func(path string) error) (err error) {
	if _, err := s.FindVolume(name); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o711); err != nil {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	users, err := s.VolumeUsers()
	if err != nil {
		return err
	}
	if by := users[name]; len(by) > 0 {
		e := &VolumeInUseError{Name: name}
		for _, c := range by {
			e.By = append(e.By, c.ID)
		}
		return e
	}
	return trash(filepath.Join(s.Volumes, name))
}
