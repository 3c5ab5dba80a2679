// Package pull answers where a base image is: on this machine, or in a registry
// that may be asked for it.
//
// A name that is here is not asked for unless the policy says so, and then what
// is here stays in use where the registry has nothing newer. What is resolved
// in a registry is recorded in the store at once, with its config and where its
// layers can be had; the layers themselves come when somebody needs them
// ([Puller.Layers]), each once, whoever waits for it.
package pull
