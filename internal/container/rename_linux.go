package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Rename gives a container another name, which no other has.
func (s *Store) Rename(c *Container, name string) (err error) {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all, err := s.List()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Name == name {
			return fmt.Errorf("the container name %q is already in use by container %q: remove that one, or choose another name", "/"+name, other.ID)
		}
	}
	// What is on the disk may be newer than what was found.
	now, err := load(c.dir)
	if err != nil {
		return err
	}
	if now.Status == Dead {
		return errors.New(now.Error)
	}
	now.Name = name
	data, err := encode(configHeader, &now.Config)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, configName)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
