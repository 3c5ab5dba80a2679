package cli

import "github.com/spf13/pflag"

// heldFlags are flags that docker's clients have for build and that can only be what
// they are here: the one value, and why.
var heldFlags = map[string]held{
	"rm":                    {"true", "intermediate containers do not stay"},
	"force-rm":              {"true", "intermediate containers do not stay"},
	"compress":              {"true", "no context is sent"},
	"disable-content-trust": {"true", "signatures of docker's trust servers are not looked at"},
	"isolation":             {"default", "other ones are of Windows"},
	"builder":               {"default", "there is this one"},
}

// addHeld adds them. They are not shown: nobody needs them.
func addHeld(fl *pflag.FlagSet, flags map[string]held) {
	for name, held := range flags {
		fl.Var(held, name, "of docker's clients: "+held.why)
		flag := fl.Lookup(name)
		flag.Hidden = true
		if held.value == "true" || held.value == "false" {
			flag.NoOptDefVal = "true"
		}
	}
}

// missingBuildFlags are flags of docker's clients for build that have no meaning here, or none yet,
// and what to do.
var missingBuildFlags = map[string]string{
	"security-opt": "a step that is kept from nothing is RUN --security=insecure, allowed with --allow security.insecure",
	"debug":        "--progress plain shows all that happens, --progress rawjson all that is known of it",
	"D":            "--progress plain shows all that happens, --progress rawjson all that is known of it",
	"policy":       "policies of sources are not there yet",
	"cache-from":   "caches of elsewhere are not there yet; the images that FROM names are used as they are",
	"cache-to":     "caches for elsewhere are not there yet",
	"print":        "--call outline, --call targets and --call check are what it has become",
}
