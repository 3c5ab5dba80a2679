package sshagent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// newKey writes a private key to a file; passphrase may be empty.
func newKey(t *testing.T, passphrase string) (path string, public ssh.PublicKey) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "comment")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "comment", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if public, err = ssh.NewPublicKey(pub); err != nil {
		t.Fatal(err)
	}
	return path, public
}

// serve serves an agent until the test ends, and returns a connection to it.
func serve(t *testing.T, behind Dial) net.Conn {
	t.Helper()
	mine, theirs := net.Pipe()
	done := make(chan error)
	go func() { done <- Serve(t.Context(), theirs, behind) }()
	t.Cleanup(func() {
		if err := mine.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return mine
}

func TestAKeyOfAFileSignsAndCannotBeChanged(t *testing.T) {
	path, public := newKey(t, "")
	behind, err := Keys([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	client := agent.NewClient(serve(t, behind))
	keys, err := client.List()
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Blob, public.Marshal()) || keys[0].Comment != "" {
		t.Fatalf("list: got %v, %v", keys, err)
	}
	signature, err := client.Sign(public, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := public.Verify([]byte("data"), signature); err != nil {
		t.Error(err)
	}
	for name, do := range map[string]func() error{
		"add":        func() error { return client.Add(agent.AddedKey{PrivateKey: ed25519.NewKeyFromSeed(make([]byte, 32))}) },
		"remove":     func() error { return client.Remove(public) },
		"remove all": client.RemoveAll,
		"lock":       func() error { return client.Lock([]byte("word")) },
		"extension": func() error {
			_, err := client.Extension("session-bind@openssh.com", nil)
			return err
		},
	} {
		if do() == nil {
			t.Errorf("%s is allowed", name)
		}
	}
	if keys, err := client.List(); err != nil || len(keys) != 1 {
		t.Errorf("afterwards: got %v, %v", keys, err)
	}
}

func TestOnlyTwoKindsOfRequestsReachTheAgent(t *testing.T) {
	var seen []byte
	dials := 0
	c := serve(t, func(context.Context) (net.Conn, error) {
		dials++
		mine, theirs := net.Pipe()
		go func() {
			for {
				m, err := readMessage(theirs)
				if err != nil {
					return
				}
				seen = append(seen, m[0])
				if writeMessage(theirs, []byte{12, 0, 0, 0, 0}) != nil {
					return
				}
			}
		}()
		return mine, nil
	})
	for kind := range 256 {
		if err := writeMessage(c, []byte{byte(kind), 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		answer, err := readMessage(c)
		if err != nil {
			t.Fatal(err)
		}
		passes := kind == requestIdentities || kind == signRequest
		if got := answer[0] != failure; got != passes {
			t.Errorf("kind %d: got answer %v", kind, answer)
		}
	}
	if !slices.Equal(seen, []byte{requestIdentities, signRequest}) || dials != 1 {
		t.Errorf("the agent saw %v in %d connections", seen, dials)
	}
}

func TestWhatIsNoKeyIsToldApart(t *testing.T) {
	locked, _ := newKey(t, "word")
	if _, err := Keys([]string{locked}); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a locked key: got %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Keys([]string{text}); err == nil || errors.Is(err, ErrPassphrase) {
		t.Errorf("text: got %v", err)
	}
}

func FuzzServe(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, requestIdentities})
	f.Add([]byte{0, 0, 0, 2, signRequest, 0, 255, 255, 255, 255})
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		behind := func(context.Context) (net.Conn, error) {
			mine, theirs := net.Pipe()
			go func() { _ = agent.ServeAgent(agent.NewKeyring(), theirs); _ = theirs.Close() }()
			return mine, nil
		}
		mine, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _ = Serve(t.Context(), theirs, behind) }()
		go func() { _, _ = mine.Write(data); _ = mine.Close() }()
		buf := make([]byte, 512)
		for {
			if _, err := mine.Read(buf); err != nil {
				break
			}
		}
		<-done
	})
}
