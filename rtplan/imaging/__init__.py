"""Moving and shaping volumes: resampling, contours, margins, registration, bulk densities."""
