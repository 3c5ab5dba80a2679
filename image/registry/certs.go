package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// addCertificates adds what docker's certs.d has for a registry: the first of
// the directories that has one of its name.
func (s *Settings) addCertificates(dirs []string, host string) error {
	for _, dir := range dirs {
		dir = filepath.Join(dir, host)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return fmt.Errorf("registry %s: %w", host, err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch filepath.Ext(path) {
			case ".crt":
				s.CA = append(s.CA[:len(s.CA):len(s.CA)], path)
			case ".cert":
				key := strings.TrimSuffix(path, ".cert") + ".key"
				if _, err := os.Stat(key); err != nil {
					return fmt.Errorf("registry %s: certificate %s has no key: %w", host, path, err)
				}
				s.Keypair = append(s.Keypair[:len(s.Keypair):len(s.Keypair)], Keypair{Key: key, Certificate: path})
			}
		}
		return nil
	}
	return nil
}
