// Package planner turns a recipe into a [Graph]: the steps that make the image,
// and the config around it.
//
// Planning is where the language ends. Variables are replaced, stages joined,
// ONBUILD triggers run, and instructions that change nothing but the config are
// folded into it; what is left is data that says what to do. What a recipe means
// is what BuildKit v0.34.2 makes of it, to the byte of a history entry.
//
// Planning is pure: no file, no network, no clock. What an image's name stands
// for is asked of the caller: [Plan] returns the names that it lacks, the caller
// resolves them into [Pins], and asks again, until nothing is wanted. That can take
// several turns, because a base's ONBUILD triggers may name other images.
//
// The same recipe, options and pins give the same graph.
package planner
