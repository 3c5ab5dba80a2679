package nofile_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"builder/internal/nofile"
)

// TestLimit runs itself under a low soft limit, which package os raises.
func TestLimit(t *testing.T) {
	if os.Getenv("NOFILE_TEST") != "" {
		soft, hard, ok := nofile.Limit()
		fmt.Println("limits", soft, hard, ok)
		return
	}
	c := exec.Command("/bin/sh", "-c", `ulimit -Sn 123; ulimit -Hn 1000; exec "$0" -test.run=TestLimit`, os.Args[0])
	c.Env = append(os.Environ(), "NOFILE_TEST=1")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "limits 123 1000 true") {
		t.Errorf("got %s, %v", out, err)
	}
}
