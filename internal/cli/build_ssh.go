package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"

	"builder/executor"
	"builder/internal/sshagent"
)

// agents are --ssh by their ids.
type agents map[string]agentSource

// agentSource is an agent of this machine.
type agentSource struct {
	socket string // absolute
}

// parseSSH reads --ssh: ID, for the agent of the environment, or ID=SOCKET.
func parseSSH(texts []string) (agents, error) {
	all := agents{}
	for _, text := range texts {
		id, path, _ := strings.Cut(text, "=")
		if id == "" {
			return nil, usage("--ssh: %q has no id", text).WithHint("default, or default=SOCKET")
		}
		if _, twice := all[id]; twice {
			return nil, usage("--ssh: %q is given twice", id)
		}
		a, err := parseAgent(text, path)
		if err != nil {
			return nil, err
		}
		all[id] = a
	}
	return all, nil
}

func parseAgent(text, path string) (a agentSource, err error) {
	if path == "" {
		path = os.Getenv("SSH_AUTH_SOCK")
	}
	if path == "" {
		return a, usage("--ssh %s: SSH_AUTH_SOCK is not set", text).WithHint("start an agent, or give its socket: default=SOCKET")
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return a, usage("--ssh %s: %v", text, err)
	case fi.Mode()&os.ModeSocket == 0:
		return a, usage("--ssh %s: %s is no socket", text, path).WithHint("keys are not supported yet: add them to an agent")
	}
	a.socket, err = filepath.Abs(path)
	return a, err
}

// socket is where git finds the agent; empty is none.
func (all agents) socket() string { return all["default"].socket }

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
	if !ok {
		return nil, false
	}
	return func(ctx context.Context, c net.Conn) {
		_ = sshagent.Serve(ctx, c, sshagent.Socket(a.socket)) // who asked finds the connection closed
	}, true
}
