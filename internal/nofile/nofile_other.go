//go:build !(linux && amd64)

package nofile

func read() limits { return limits{} }
