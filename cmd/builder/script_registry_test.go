package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// registry starts Debian's docker-registry on loopback:
//
//	registry start VAR [password] [tls]   sets VAR to host:port
//	registry stop VAR
//	registry restart VAR                  kills it and starts it again, with what it has, at its address
//
// With password it wants user "user" and password "secret". With tls it has a
// certificate of its own for 127.0.0.1, which lies in $VAR.pem. Its log is
// $VAR.log.
func registry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || (args[0] != "start" && args[0] != "stop" && args[0] != "restart") {
		ts.Fatalf("usage: registry start|stop|restart VAR [password] [tls]")
	}
	name := args[1]
	if args[0] == "stop" {
		stop, ok := running(ts)[name]
		if !ok {
			ts.Fatalf("registry %s was not started", name)
		}
		stop()
		return
	}
	if args[0] == "restart" {
		running(ts)[name]()
		restartRegistry(ts, name)
		return
	}
	dir, err := os.MkdirTemp(ts.Getenv("SPARE"), "registry-")
	ts.Check(err)
	config := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: false}}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp:\n  secret: test\n  addr: 127.0.0.1:0\n", dir)
	for _, option := range args[2:] {
		switch option {
		case "tls":
			ts.Check(makeCertificate(ts.MkAbs(name+".pem"), filepath.Join(dir, "key.pem")))
			config += fmt.Sprintf("  tls: {certificate: %s, key: %s/key.pem}\n", ts.MkAbs(name+".pem"), dir)
		case "password":
			// bcrypt of "secret"
			ts.Check(os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"), 0o600))
			config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir)
		default:
			ts.Fatalf("registry: unknown option %q", option)
		}
	}
	path := filepath.Join(dir, "config.yml")
	ts.Check(os.WriteFile(path, []byte(config), 0o600))
	ts.Setenv(name+"_CONFIG", path)
	startIn(ts, name, path)
}

// startIn starts the registry of a configuration.
func startIn(ts *testscript.TestScript, name, path string) {
	address, stop, err := startRegistry(path, ts.MkAbs(name+".log"))
	ts.Check(err)
	ts.Defer(stop)
	running(ts)[name] = stop
	ts.Setenv(name, address)
}

// restartRegistry starts a registry that was stopped where it was.
func restartRegistry(ts *testscript.TestScript, name string) {
	path := ts.Getenv(name + "_CONFIG")
	config, err := os.ReadFile(path)
	ts.Check(err)
	config = []byte(strings.Replace(string(config), "addr: 127.0.0.1:0", "addr: "+ts.Getenv(name), 1))
	ts.Check(os.WriteFile(path, config, 0o600))
	startIn(ts, name, path)
}

// registries is the key under which a script keeps how its registries are
// stopped.
type registries struct{}

func running(ts *testscript.TestScript) map[string]func() {
	return ts.Value(registries{}).(map[string]func())
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)

// startRegistry starts a registry, waits until it listens, and returns where.
func startRegistry(config, log string) (address string, stop func(), err error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout = out
	said, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("docker-registry: %w (make deps installs it)", err)
	}
	var copying sync.WaitGroup
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may be dead already
		copying.Wait()
		_ = cmd.Wait() // "killed"
		_ = out.Close()
	})
	lines := bufio.NewScanner(io.TeeReader(said, out))
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			copying.Go(func() {
				for lines.Scan() {
				}
			})
			return m[1], stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("docker-registry did not start: %s", log)
}

// makeCertificate writes a key and a certificate by itself for 127.0.0.1.
func makeCertificate(certificate, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600)
}
