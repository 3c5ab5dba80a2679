package planner

import "slices"

// Join makes one graph of those of several platforms. Steps that are equal are
// one: a stage on the build's own platform is made once. The graph has the results
// in the order of the graphs.
func Join(graphs []*Graph) *Graph {
	joined := &Graph{Outline: graphs[0].Outline}
	known := map[ID]StepRef{}
	var results []Result
	for _, g := range graphs {
		moved := make([]StepRef, len(g.Steps))
		for i, s := range g.Steps {
			if at, ok := known[s.ID]; ok {
				moved[i] = at
				joined.Steps[at].NoCache = joined.Steps[at].NoCache || s.NoCache
				continue
			}
			s.Inputs = slices.Clone(s.Inputs)
			for n, in := range s.Inputs {
				if in != None {
					s.Inputs[n] = moved[in]
				}
			}
			moved[i] = StepRef(len(joined.Steps))
			known[s.ID] = moved[i]
			joined.Steps = append(joined.Steps, s)
		}
		r := g.Result
		if r.Root != None {
			r.Root = moved[r.Root]
		}
		results = append(results, r)
	}
	joined.Result, joined.More = results[0], results[1:]
	return joined
}
