package layer

import (
	"os"
	"syscall"
	"testing"

	"builder/internal/sys"
)

func TestResetRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("owners need root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 5, 6); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Chmod(dir, 0o3700); err != nil {
		t.Fatal(err)
	}
	if err := sys.SetXattr(dir, "user.x", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if err := ResetRoot(dir); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o755 || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("mode %o, owner %d:%d", st.Mode&0o7777, st.Uid, st.Gid)
	}
	d, err := sys.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if names, err := d.XattrNames("."); err != nil || len(names) != 0 {
		t.Errorf("attributes %q, %v", names, err)
	}
}
