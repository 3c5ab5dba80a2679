package nofile

//go:noescape
func prlimit(l *limits) int64

func read() (l limits) {
	if prlimit(&l) != 0 {
		return limits{}
	}
	return l
}
