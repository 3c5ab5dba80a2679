package layer

// Flatten returns the tree that the layers make as one layer without anything
// below it. mtime says what time an entry of layer i gets, in nanoseconds since
// 1970.
func (s *Stack) Flatten(mtime func(i int, e Entry) int64) (*Index, error) {
	var entries []Entry
	var walk func(dir string)
	walk = func(dir string) {
		for _, e := range s.ReadDir(dir) {
			i, _ := s.Layer(e.Path)
			e.Mtime = mtime(i, e)
			if e.Pyc > 0 {
				e.Pyc = s.flatPyc(e.Path)
			}
			entries = append(entries, e)
			if e.Type == Dir {
				walk(e.Path)
			}
		}
	}
	walk("")
	return NewIndex(entries)
}

// flatPyc is the Pyc of a compiled file whose source's layer is the same now.
func (s *Stack) flatPyc(path string) uint8 {
	source, ok := pycSource(path)
	if !ok {
		return 0
	}
	if _, ok := s.Lookup(source); !ok {
		return 0
	}
	return 1
}

// pycTime returns the time, in seconds since 1970, that the header of the
// compiled file e gets where every entry has a time of its own.
func (x *Index) pycTime(e *Entry) int64 {
	if of, ok := x.source(e.Path); ok {
		return of.Mtime / 1e9
	}
	return e.Mtime / 1e9
}
