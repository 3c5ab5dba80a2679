package executor

import (
	"builder/executor/sandbox"
	"builder/planner"
)

// deviceEnv are the variables that devices bring.
func deviceEnv(devices []planner.Device) []string {
	var env []string
	for _, d := range devices {
		env = append(env, d.Env...)
	}
	return env
}

// nodes are the devices that a step sees beside the usual ones.
func nodes(devices []planner.Device) []sandbox.Node {
	var list []sandbox.Node
	for _, d := range devices {
		for _, n := range d.Nodes {
			list = append(list, sandbox.Node(n))
		}
	}
	return list
}

// binds are the paths of the host that devices show.
func binds(devices []planner.Device) []sandbox.Mount {
	var list []sandbox.Mount
	for _, d := range devices {
		for _, b := range d.Binds {
			list = append(list, sandbox.Mount{Source: b.HostPath, Target: b.Path, ReadOnly: b.ReadOnly})
		}
	}
	return list
}
