// Package depot holds the layers of this machine in all the forms in which they
// lie here, and turns one form into another when somebody needs it.
//
// A layer has an index (what it holds), and its files as a tree, as a tar, as
// the blob that it came as, or in several of these. A layer made here is made
// as whichever form is cheaper at that moment; its tar can be made from its
// tree at any time, with the same bytes. A layer that came from elsewhere is
// its blob; its tree is derived, and only when somebody reads it.
//
// A chain is a list of layers by content, lowest first: it names a tree. Nothing
// here knows of recipes, steps or keys.
//
// All methods may be called from many goroutines and many processes at once.
// What is published is complete: a crash leaves temporary files at most.
package depot
