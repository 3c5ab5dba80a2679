package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// versions is what version --format sees, by docker's names. There is no daemon:
// client and server are this program.
type versions struct {
	Client inspectedClient
	Server inspectedServer
}

// inspectedClient is this program.
type inspectedClient struct {
	Version   string
	GitCommit string `json:",omitempty"`
	GoVersion string
	Os        string
	Arch      string
	BuildTime string `json:",omitempty"` // of its commit
	Context   string
}

// inspectedServer is the same, with what docker says of its engine only.
type inspectedServer struct {
	Version       string
	GitCommit     string `json:",omitempty"`
	GoVersion     string
	Os            string
	Arch          string
	KernelVersion string `json:",omitempty"`
	Experimental  bool
	BuildTime     string `json:",omitempty"`
}

// ownVersion reads what the binary was made of.
func ownVersion() inspectedClient {
	c := inspectedClient{Version: version(), GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, Context: "default"}
	made, ok := debug.ReadBuildInfo()
	if !ok {
		return c
	}
	for _, s := range made.Settings {
		switch s.Key {
		case "vcs.revision":
			c.GitCommit = s.Value
		case "vcs.time":
			c.BuildTime = s.Value
			if at, err := time.Parse(time.RFC3339, s.Value); err == nil {
				c.BuildTime = at.Format(time.ANSIC)
			}
		}
	}
	return c
}

// version is the module's version, or the commit that the binary was built of.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v += "-" + s.Value[:12]
			}
		}
	}
	return v
}

func newVersion(g *globals) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "version [OPTIONS]",
		Short:   "Show the version of builder",
		Example: "  builder version --format '{{.Client.Version}}'",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			show, err := structPrinter(format, func(w io.Writer, v versions) error {
				_, err := fmt.Fprintf(w, "builder version %s %s %s/%s\n", v.Client.Version, v.Client.GoVersion, v.Client.Os, v.Client.Arch)
				return err
			})
			if err != nil {
				return err
			}
			c := ownVersion()
			var host inspectedSystem
			if format != "" {
				if err := host.host(); err != nil {
					return err
				}
			}
			return show(g.out, versions{Client: c, Server: inspectedServer{
				Version: c.Version, GitCommit: c.GitCommit, GoVersion: c.GoVersion, Os: c.Os, Arch: c.Arch,
				KernelVersion: host.KernelVersion, BuildTime: c.BuildTime,
			}})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}
