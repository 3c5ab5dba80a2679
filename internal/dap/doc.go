// Package dap speaks the Debug Adapter Protocol to an editor, for a build: threads, frames and
// variables are what a [Stop] has, and the one thread is the build.
// https://microsoft.github.io/debug-adapter-protocol/specification
//
// It knows nothing of builds: who uses it starts one when the editor says so, and
// calls [Server.Reached] in front of each step and for one that failed.
package dap
