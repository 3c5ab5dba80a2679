// Package recipe reads the cases of the corpus: one txtar file each, with a
// recipe, its context and the options of one build.
//
// The text before the first file is the case's head. Lines that start with #
// say what the case shows; every other line is an option:
//
//	file: PATH            the recipe, within the case (Dockerfile)
//	context: PATH         the build context, within the case (.), or a URL
//	build-context: NAME=VALUE
//	                      as build's flag, repeatable; VALUE is a PATH, docker-image://IMAGE or a URL
//	target: STAGE         as build's flag; so are these, all but platform repeatable:
//	build-arg: NAME=VALUE
//	label: NAME=VALUE
//	add-host: NAME:ADDRESS
//	ulimit: NAME=SOFT:HARD
//	allow: network.host
//	annotation: KIND[PLATFORM]:KEY=VALUE
//	secret: id=ID,src=PATH|env=NAME
//	ssh: ID[=KEY|SOCKET]
//	platform: PLATFORM[,PLATFORM...]
//	no-cache: true
//	network: none
//	shm-size: BYTES
//	refuse: REGEXP        both must refuse; the oracle's message matches
//	differs: REASON       the results differ, and docs/differences.md says why
//	differs-in: REGEXP    differences that match are the expected ones (default: all)
//
// The environment of a build has SECRET_WORD=sesame.
//
// A file named "setup" is a shell script that runs in the case's directory
// when the files are in place, for what txtar cannot hold: links, modes,
// empty directories, archives, bytes that are not text.
//
// What is in the directory web of a case is served at http://@WEB@/CASE/ while
// the case is built, bare repositories (NAME.git) among it.
//
// In every file and option @REGISTRY@ stands for the registry's address and
// @DIGEST:name:tag@ for the digest of a test base.
package recipe
