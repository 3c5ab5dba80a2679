// Package sshagent shows an SSH agent to somebody who is trusted with the use of
// its keys and with nothing else.
//
// [Serve] answers two requests, the list of keys and a signature, and refuses all
// others: no key can be added, removed, locked or exported through it. The agent behind it
// is another process's, reached by its socket, or [Keys].
package sshagent
