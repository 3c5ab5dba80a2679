package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

const (
	domain = 53
	// answerTime is how long a server may take before the next one is asked.
	answerTime = 3 * time.Second
	// quiet is how long a sender that has asked nothing more is remembered: most ask once.
	quiet = 2 * time.Second
	// maxQuestion is the size of a question in bytes; real ones have some hundred.
	maxQuestion = 4 << 10
	// maxQuestions is how many questions of one sender are open at the same time.
	maxQuestions = 64
)

// servers are the machine's name servers, in order, as resolv.conf(5) has them; public ones where it
// names none, as with BuildKit.
func servers() []netip.AddrPort {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		text = nil // then the defaults apply
	}
	return parseServers(string(text))
}

func parseServers(text string) []netip.AddrPort {
	var list []netip.AddrPort
	add := func(s string) {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, netip.AddrPortFrom(a, domain))
		}
	}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			add(fields[1])
		}
	}
	if len(list) == 0 {
		add("8.8.8.8")
		add("8.8.4.4")
	}
	return list
}

// resolve has the machine's servers answer the questions that come from one sender, as they are.
func (n *Network) resolve(in *gonet.UDPConn) {
	var asking sync.WaitGroup
	defer asking.Wait()
	open := make(chan struct{}, maxQuestions)
	buf := make([]byte, maxQuestion)
	for {
		if err := in.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return
		}
		size, err := in.Read(buf)
		if err != nil {
			return
		}
		select {
		case open <- struct{}{}:
		default:
			continue
		}
		question := append([]byte(nil), buf[:size]...)
		asking.Go(func() {
			defer func() { <-open }()
			if answer := n.ask(question); answer != nil {
				_, _ = in.Write(answer) // or it is lost
			}
		})
	}
}

// ask asks one server after the other. Where none answers the question is answered with a
// failure, so that nobody waits longer than that.
func (n *Network) ask(question []byte) []byte {
	for _, s := range n.servers {
		if answer, err := askServer(n.ctx, s, question); err == nil {
			return answer
		}
	}
	return failure(question)
}

func askServer(ctx context.Context, server netip.AddrPort, question []byte) (answer []byte, err error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer = make([]byte, maxDatagram)
	size, err := conn.Read(answer)
	return answer[:size], err
}

// failure is the answer SERVFAIL to a question, nil if it is none.
//
// See https://www.rfc-editor.org/rfc/rfc1035#section-4.1.1
func failure(question []byte) []byte {
	const (
		headerSize = 12
		response   = 0x80 // in the third byte
		available  = 0x80 // in the fourth: recursion
		servFail   = 2
	)
	if len(question) < headerSize || question[2]&response != 0 {
		return nil
	}
	answer := append([]byte(nil), question...)
	answer[2] |= response
	answer[3] = available | servFail
	return answer
}
