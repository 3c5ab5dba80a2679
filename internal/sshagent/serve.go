package sshagent

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// The messages that pass, and the answer to all others:
// https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent
const (
	requestIdentities = 11
	signRequest       = 13
	failure           = 5
)

// maxMessage is how long a message may be, as with OpenSSH.
const maxMessage = 256 << 10

// Dial connects to an agent.
type Dial func(ctx context.Context) (net.Conn, error)

// Socket returns the agent that listens on a socket of this machine.
func Socket(path string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// Serve answers the requests that come from c by asking an agent, until c ends,
// and closes it.
func Serve(ctx context.Context, c net.Conn, agent Dial) (err error) {
	defer func() { err = errors.Join(err, ignoreClosed(c.Close())) }()
	var behind net.Conn
	defer func() {
		if behind != nil {
			err = errors.Join(err, ignoreClosed(behind.Close()))
		}
	}()
	for {
		request, err := readMessage(c)
		if err != nil {
			return ignoreClosed(err)
		}
		answer := []byte{failure}
		if kind := request[0]; kind == requestIdentities || kind == signRequest {
			if behind == nil {
				if behind, err = agent(ctx); err != nil {
					return err
				}
				stop := context.AfterFunc(ctx, func() { _ = behind.Close() }) // to end what waits on it
				defer stop()
			}
			if err := writeMessage(behind, request); err != nil {
				return err
			}
			if answer, err = readMessage(behind); err != nil {
				return err
			}
		}
		if err := writeMessage(c, answer); err != nil {
			return ignoreClosed(err)
		}
	}
}

// readMessage reads one message; it is not empty.
func readMessage(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxMessage {
		return nil, errors.New("a message of an SSH agent has a wrong length")
	}
	message := make([]byte, n)
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(message)), uint32(len(message)))
	_, err := w.Write(append(b, message...))
	return err
}

// ignoreClosed drops the error of a connection that has ended.
func ignoreClosed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
