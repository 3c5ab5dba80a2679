package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"builder/cache"
	"builder/executor"
	"builder/executor/source"
	"builder/internal/progress"
	"builder/planner"
)

// fetcher brings what a build takes from elsewhere.
type fetcher struct {
	source.Fetcher
	sink progress.Sink
}

var _ executor.Fetcher = (*fetcher)(nil)

// newFetcher returns the fetcher of a command. What it opens is open until the
// command ends.
func (m *machine) newFetcher(command context.Context, sink progress.Sink, secret func(string) ([]byte, bool)) *fetcher {
	return &fetcher{sink: sink, Fetcher: source.Fetcher{
		Dir: m.path("sources"), Temp: m.lease.Dir(), Cache: m.cache, Trash: m.lease.Trash, Secret: secret,
		Open: func(dir string) (*source.Context, error) { return m.openContext(command, dir, nil) },
	}}
}

// openContext opens a directory with what the cache knows of its files.
func (m *machine) openContext(command context.Context, dir string, ignore []string) (*source.Context, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	files, err := m.cache.Files(abs)
	if err != nil {
		return nil, err
	}
	opened, err := source.OpenContext(command, dir, ignore, digests{files})
	if err != nil {
		return nil, err
	}
	m.opened.Lock()
	defer m.opened.Unlock()
	m.files = append(m.files, files)
	m.contexts = append(m.contexts, opened)
	return opened, nil
}

// HTTP implements executor.Fetcher.
func (f *fetcher) HTTP(ctx context.Context, op planner.HTTP, v progress.Vertex) (*source.Context, error) {
	return f.Fetcher.HTTP(ctx, source.File{URL: op.URL, Name: op.Name, Checksum: op.Checksum}, f.sink, v)
}

// Git implements executor.Fetcher.
func (f *fetcher) Git(ctx context.Context, op planner.Git, v progress.Vertex) (*source.Context, error) {
	return f.Fetcher.Git(ctx, source.Repository{
		Remote: op.Remote, Ref: op.Ref, Checksum: op.Checksum, Subdir: op.Subdir,
		KeepGitDir: op.KeepGitDir, NoSubmodules: op.NoSubmodules, FetchByCommit: op.FetchByCommit,
	}, f.sink, v)
}

// fetched is what the fetcher keeps, as caches to be pruned.
func (m *machine) fetched() ([]cached, error) {
	kept, err := source.ListFetched(m.path("sources"))
	if err != nil {
		return nil, err
	}
	var list []cached
	for _, k := range kept {
		list = append(list, cached{fetched: k.Path, used: k.Used, size: k.Size})
	}
	return list, nil
}

// name is what prune calls something that it removed.
func (c cached) name() string {
	switch c.kind() {
	case kindMount:
		return c.mountName()
	case kindFetched:
		return filepath.Base(c.fetched)[:12]
	}
	return c.Content.String()[:12]
}

// forgetFetched removes something that the fetcher keeps.
func (m *machine) forgetFetched(path string) error {
	if err := m.lease.Trash(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

var _ source.Digests = digests{}

// digests keeps the digests of a context's files in the cache.
type digests struct{ files *cache.Files }

// Lookup implements source.Digests.
func (d digests) Lookup(s source.Stat) ([32]byte, bool) { return d.files.Lookup(cache.FileStat(s)) }

// Store implements source.Digests.
func (d digests) Store(s source.Stat, digest [32]byte) { d.files.Store(cache.FileStat(s), digest) }
