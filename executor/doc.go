// Package executor runs a planner.Graph and makes an image of it.
//
// For each step it makes the key out of the op and the contents of the step's
// inputs, looks the key up, and on a miss runs the step and records its layer.
// A hit materialises nothing: trees are made when a step that misses needs
// them. What a step made is known by its content, so a step that runs again and
// makes the same leaves everything after it cached.
//
// Steps that do not depend on each other run at the same time, in this process
// and in others that use the same store: one key is executed once. A failed or
// cancelled run leaves no record and no process.
package executor
