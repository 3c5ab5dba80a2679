package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKey is how large the file of a key may be, as with BuildKit.
const maxKey = 100 << 10

// Keys returns an agent in this process that has the private keys of files.
func Keys(paths []string) (Dial, error) {
	ring := agent.NewKeyring()
	for _, path := range paths {
		key, err := readKey(path)
		if err != nil {
			return nil, err
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return func(context.Context) (net.Conn, error) {
		mine, theirs := net.Pipe()
		go func() {
			// It ends when the other end is closed, and then with an error that says so.
			_ = agent.ServeAgent(ring, theirs)
			_ = theirs.Close()
		}()
		return mine, nil
	}, nil
}

func readKey(path string) (_ any, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParseRawPrivateKey(data)
	if locked := (*ssh.PassphraseMissingError)(nil); errors.As(err, &locked) {
		return nil, fmt.Errorf("%s: %w", path, ErrPassphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no private key: %w", path, err)
	}
	return key, nil
}

// ErrPassphrase is returned for a key that is encrypted.
var ErrPassphrase = errors.New("the key has a passphrase")
