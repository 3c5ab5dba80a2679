package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// FreeAddr is an address of the loopback interface at which nobody listens:
// preferred, or if that is taken any other.
func FreeAddr(preferred string) (string, error) {
	for _, addr := range []string{preferred, "127.0.0.1:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		addr = l.Addr().String()
		return addr, l.Close()
	}
	return "", fmt.Errorf("no free port")
}

// StartRegistry starts an empty docker-registry at addr with its state below dir.
func StartRegistry(ctx context.Context, dir, addr string) (*Process, error) {
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n",
		filepath.Join(dir, "registry"), addr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return start(ctx, "tcp", addr, "docker-registry", "serve", config)
}
