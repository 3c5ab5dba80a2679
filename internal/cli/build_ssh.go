package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"builder/executor"
	"builder/internal/sshagent"
)

// agents are --ssh by their ids.
type agents map[string]agentSource

// agentSource is an agent of this machine.
type agentSource struct {
	dial   sshagent.Dial
	socket string // absolute; empty for one that has the keys of files
}

// parseSSH reads --ssh: ID, for the agent of the environment, ID=SOCKET or
// ID=KEY[,KEY].
func parseSSH(texts []string) (agents, error) {
	all := agents{}
	for _, text := range texts {
		id, value, _ := strings.Cut(text, "=")
		if id == "" {
			return nil, usage("--ssh: %q has no id", text).WithHint("default, default=SOCKET or default=KEY[,KEY]")
		}
		if _, twice := all[id]; twice {
			return nil, usage("--ssh: %q is given twice", id)
		}
		a, err := parseAgent(value)
		if err != nil {
			return nil, usage("--ssh %s: %v", text, err).WithHint("%s", sshHint(err))
		}
		all[id] = a
	}
	return all, nil
}

var errNoAgent = errors.New("SSH_AUTH_SOCK is not set")

func sshHint(err error) string {
	switch {
	case errors.Is(err, errNoAgent):
		return "start an agent, or give its socket or keys: default=SOCKET or default=KEY[,KEY]"
	case errors.Is(err, sshagent.ErrPassphrase):
		return "add the key to an agent, and give that"
	default:
		return "a socket of an agent, or files with private keys"
	}
}

// parseAgent reads what stands behind an id.
func parseAgent(value string) (a agentSource, err error) {
	if value == "" {
		if value = os.Getenv("SSH_AUTH_SOCK"); value == "" {
			return a, errNoAgent
		}
	}
	var keys []string
	for path := range strings.SplitSeq(value, ",") {
		if strings.HasPrefix(path, "raw=") {
			return a, errors.New("raw is not supported: an agent is asked for keys and signatures, and for nothing else")
		}
		fi, err := os.Stat(path)
		switch {
		case err != nil:
			return a, err
		case a.socket != "":
			return a, errors.New("only a single socket is allowed")
		case fi.Mode()&os.ModeSocket == 0:
			keys = append(keys, path)
		default:
			if a.socket, err = filepath.Abs(path); err != nil {
				return a, err
			}
		}
	}
	if a.socket != "" && len(keys) > 0 {
		return a, errors.New("keys and sockets do not go together")
	}
	a.dial = sshagent.Socket(a.socket)
	if a.socket == "" {
		a.dial, err = sshagent.Keys(keys)
	}
	return a, err
}

// agentSocket returns where git finds the agent, in an environment variable: for one
// with the keys of files a socket of this process, served until the command ends.
func (m *machine) agentSocket(ctx context.Context, all agents) (string, error) {
	a, ok := all["default"]
	if !ok || a.socket != "" {
		return a.socket, nil
	}
	dir := m.lease.Dir()
	const longest = 100 // a socket's address holds little more
	if len(dir) > longest-len("/agent-0123456789/s") {
		dir = os.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "agent-*")
	if err != nil {
		return "", fmt.Errorf("--ssh: %w", err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		return "", errors.Join(fmt.Errorf("--ssh: %w", err), os.Remove(dir))
	}
	ctx, end := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })() // to end what waits on it
				a.serve(ctx, c)
			})
		}
	})
	m.atEnd = append(m.atEnd, func() error {
		err := l.Close()
		end()
		work.Wait()
		return errors.Join(err, os.RemoveAll(dir))
	})
	return path, nil
}

// serve answers a connection; who asks for too much finds it closed.
func (a agentSource) serve(ctx context.Context, c net.Conn) { _ = sshagent.Serve(ctx, c, a.dial) }

// grants are what a build's user lends to its steps.
type grants struct {
	secrets secrets
	agents  agents
}

var _ executor.Grants = grants{}

// Secret implements executor.Grants.
func (g grants) Secret(id string) ([]byte, bool, error) {
	s, ok := g.secrets[id]
	if !ok {
		return nil, false, nil
	}
	value, err := s.read()
	return value, err == nil, err
}

// Agent implements executor.Grants.
func (g grants) Agent(id string) (func(context.Context, net.Conn), bool) {
	a, ok := g.agents[id]
	return a.serve, ok
}
