/** Beginnings of texts of many kinds, for both sides to go on with. */
export const PROMPTS = `The capital of France is
Water boils at a temperature of
The three primary colours are
In 1969, the first human being
def fibonacci(n):
SELECT name, price FROM products WHERE
The quick brown fox jumps over
To make pancakes, first mix the flour with
The largest planet in the solar system is
Photosynthesis is the process by which plants
Once upon a time, in a small village by the sea,
The main difference between a virus and a bacterium is
Dear Sir or Madam, I am writing to
The square root of 144 is
Translate to French: "Good morning, my friend." Translation:
My favourite season is autumn because
The stock market fell sharply today after
for (let i = 0; i < 10; i++) {
An apple a day keeps
The speed of light in a vacuum is about
Q: Who wrote Romeo and Juliet? A:
The recipe calls for two cups of sugar and
Gravity is the force that
Albert Einstein is best known for
{"name": "Alice", "age": 30, "city":
The mitochondrion is often called
To be, or not to be, that is
The seven days of the week are
A healthy breakfast could include
The Great Wall of China was built
import numpy as np
The human heart has four
When the rain stopped, the children
Machine learning is a branch of
The opposite of hot is
The train to London leaves at
In conclusion, the evidence suggests that
# How to train your dog
The chemical symbol for gold is
If it takes 5 machines 5 minutes to make 5 widgets, then 100 machines
The first step in solving a problem is
Rome was not built in
She opened the door slowly and saw
Bees are important for the environment because
The Pacific Ocean is the
HTTP status code 404 means
The moon orbits the Earth every
A triangle with three equal sides is called
The most common causes of headaches are
Thank you for your message. I will`.split("\n");
