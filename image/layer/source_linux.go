package layer

// DirSource gives the files that stand in a directory under the paths of their
// entries. No symbolic link is followed.
type DirSource struct{}

// OpenDir returns the files of the directory dir.
func OpenDir(dir string) (*DirSource, error) { panic("not yet") }

// Close lets go of the directory.
func (s *DirSource) Close() error { panic("not yet") }
