package store

import (
	"context"
	"fmt"

	"builder/image"
)

// RecipeError says that a name is that of an image which a recipe made, and that
// an image which no recipe made may not have it.
type RecipeError struct {
	Reference image.Reference
	ID        image.Digest // what has the name
}

// Error names both.
func (e *RecipeError) Error() string {
	return fmt.Sprintf("%s is %s, which a recipe's build made", e.Reference.Familiar(), e.ID.Encoded()[:12])
}

// Claim is [Store.Tag] for an image that was not made by a recipe: a name that
// an image made by a recipe has stays as it is, and the error is a [*RecipeError].
func (s *Store) Claim(ctx context.Context, n Name) (before image.Digest, err error) {
	return s.tag(ctx, n, func(old Name) error {
		if old.ID == n.ID {
			return nil
		}
		r, ok, err := s.Image(old.ID)
		if err != nil || !ok || r.Origin != FromRecipe {
			return err
		}
		return &RecipeError{Reference: n.Reference, ID: old.ID}
	})
}
