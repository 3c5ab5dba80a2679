package container

import (
	"math/rand/v2"
	"strings"
)

const (
	qualities = "amber brisk calm clever copper cosy crisp dapper eager early fair fleet fond gentle glad golden grand green happy hardy jolly keen kind late lively lucid mellow merry mild misty nimble noble olive proud quick quiet rapid ready rosy silver sleek smart snug solid spry steady sunny swift tidy vivid warm wise witty young"
	makers    = "adze anvil awl bellows bevel brace brush caliper cart chisel clamp cleat crane dowel drill file forge funnel gauge gimlet gouge grout hammer hoist jig kiln ladle lathe lever loom mallet mason miter mortar nail pestle plane plumb pulley punch rasp rivet router ruler saw scribe shears spade spindle square tenon thimble trowel vise wedge winch wrench"
)

// randomName makes up a name: a quality and a tool.
func randomName() string {
	a, b := strings.Fields(qualities), strings.Fields(makers)
	return a[rand.IntN(len(a))] + "_" + b[rand.IntN(len(b))]
}
