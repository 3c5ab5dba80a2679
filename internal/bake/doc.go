// Package bake reads files that say what to build: targets, groups of them, and the variables and
// functions that they are written with, in HCL, in JSON, and as services of compose files.
//
// It is pure: files and overrides come in, targets come out, and nothing is looked up but what
// [Options] gives. The language is that of docker buildx bake:
// https://docs.docker.com/build/bake/reference/. What is wrong is a [diag.Error] with its place.
package bake
