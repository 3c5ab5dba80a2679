// Package rootfs opens paths inside a root directory as if it were "/": an
// absolute symbolic link starts at the root again and ".." does not lead out of
// it, whatever somebody else does to the tree meanwhile.
//
// Everything goes through descriptors (openat2 with RESOLVE_IN_ROOT), so a path
// is never resolved twice. It is no sandbox: what is opened is opened with the
// caller's rights, and device nodes and pipes of a hostile tree are met as they are;
// [Root.ReadFile] reads regular files only.
package rootfs
