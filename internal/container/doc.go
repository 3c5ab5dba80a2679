// Package container makes, runs and removes containers: processes in
// copy-on-write copies of an image's tree, with the surroundings that the image's
// config and the command line give them.
//
// There is no daemon. A container is a directory (docs/format.md), and while it
// runs a process beside it: the one that the user started, or with [Held.Detach] a
// supervisor in a session of its own. That process holds the container's lock,
// writes its state and its log, and answers on its control socket. The lock is the
// truth: it goes with the process, however that ends, and the command goes with it
// too. So a container that its state file calls running, and whose lock nobody
// holds, has ended.
//
// Who holds the lock may run or remove the container; who only reads its tree
// shares it. A container pins its image's layers and tree: whoever removes these
// asks [Store.List] first.
//
// A container has a network of its own ([network.Network]), none, or the host's. The
// process beside it keeps the first of these, and listens where ports of it are
// published. The first process is a reaper: it passes signals
// on to the command and collects orphans.
package container
