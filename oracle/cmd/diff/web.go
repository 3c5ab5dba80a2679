package main

import (
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"

	"builder/oracle/daemon"
)

// web serves what the cases have in their directories of that name.
type web struct {
	addr   string
	server *http.Server
	done   chan struct{}
}

// serveCases serves cases/CASE/files/web at /CASE/: files, and repositories below
// names that end in ".git".
func serveCases(cases string) (*web, error) {
	addr, err := daemon.FreeAddr("127.0.0.1:5998")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	backend := filepath.Join(strings.TrimSpace(string(core)), "git-http-backend")
	w := &web{addr: addr, done: make(chan struct{})}
	w.server = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		root := filepath.Join(cases, filepath.Base("/"+name), "files", "web")
		if strings.Contains(r.URL.Path, ".git/") {
			h := cgi.Handler{Path: backend, Root: "/" + name, Env: []string{
				"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=/nonexistent", "GIT_CONFIG_COUNT=1",
				"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
			}}
			h.ServeHTTP(rw, r)
			return
		}
		http.StripPrefix("/"+name, http.FileServer(http.Dir(root))).ServeHTTP(rw, r)
	})}
	go func() {
		defer close(w.done)
		_ = w.server.Serve(l) // it ends with ErrServerClosed
	}()
	return w, nil
}

func (w *web) close() {
	_ = w.server.Close()
	<-w.done
}
