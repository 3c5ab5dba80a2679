package cli

import (
	"fmt"

	"github.com/spf13/pflag"
)

// held is a flag of docker's that can only be what it is here.
type held struct{ value, why string }

func (h held) String() string { return h.value }
func (h held) Type() string   { return "string" }

// Set implements pflag.Value.
func (h held) Set(v string) error {
	if v != h.value && h.value == "" {
		return fmt.Errorf("%q is not there: %s", v, h.why)
	}
	if v != h.value {
		return fmt.Errorf("it can only be %s: %s", h.value, h.why)
	}
	return nil
}

// hold adds a flag that is true or false with docker, and only one of them here.
func hold(fl *pflag.FlagSet, name, short, value, why string) {
	fl.VarP(held{value, why}, name, short, "always "+value+": "+why)
	fl.Lookup(name).NoOptDefVal = "true"
}

// holdTrust adds --disable-content-trust.
func holdTrust(fl *pflag.FlagSet) {
	hold(fl, "disable-content-trust", "", "true", "signatures of docker's trust servers are not looked at")
	fl.Lookup("disable-content-trust").Hidden = true
}
